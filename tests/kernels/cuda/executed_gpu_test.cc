#include "tests/kernels/cuda/executed_gpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "base/error.h"

namespace lockstep::kernels::cuda {
namespace {

using testing::Each;
using testing::HasSubstr;

template <class Call>
std::string error_of(Call call) {
  try {
    call();
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

// Some floats on both sides, and a sum of one segment: a copy by a kernel.
class ExecutedGpuTest : public testing::Test {
 protected:
  static constexpr std::size_t kCount = 8;

  float* floats(device::Allocation& memory) { return static_cast<float*>(memory.data()); }
  std::span<float> host() { return {floats(pinned_), kCount}; }
  void upload() { gpu_.upload(in_.data(), std::as_bytes(host()), "in"); }
  void sum(float* out) {
    const SegmentSumArgs args{.sum = {.segments = floats(in_),
                                      .stride = kCount,
                                      .count = 1,
                                      .merges = static_cast<const std::int32_t*>(merges_.data())},
                              .out = out,
                              .values = kCount};
    gpu_.run(args);
  }
  std::vector<float> out() {
    gpu_.download(std::as_writable_bytes(host()), out_.data(), "out");
    gpu_.synchronize("out");
    return {host().begin(), host().end()};
  }
  void SetUp() override { gpu_.clear(merges_.data(), merges_.size(), "merges"); }

  ExecutedGpu gpu_;
  device::Allocation in_ = gpu_.memory().allocate("in", kCount * sizeof(float));
  device::Allocation out_ = gpu_.memory().allocate("out", kCount * sizeof(float));
  device::Allocation merges_ = gpu_.memory().allocate("merges", sizeof(std::int32_t));
  device::Allocation pinned_ = gpu_.pinned_memory().allocate("host", kCount * sizeof(float));
};

TEST_F(ExecutedGpuTest, RunsKernelsOnTheMemoryOfItsPool) {
  std::iota(host().begin(), host().end(), 1.0f);
  upload();
  sum(floats(out_));
  std::ranges::fill(host(), 0.0f);
  EXPECT_EQ(out(), (std::vector<float>{1, 2, 3, 4, 5, 6, 7, 8}));
  EXPECT_EQ(gpu_.launches(), 1u);
}

TEST_F(ExecutedGpuTest, ARecordingSeesTheMemoryOfItsLaunch) {
  const auto recording = gpu_.record([&] {
    upload();
    sum(floats(out_));
  });
  EXPECT_EQ(recording->nodes(), 2u);
  EXPECT_EQ(gpu_.launches(), 0u);
  for (const float value : {3.0f, 5.0f}) {
    std::ranges::fill(host(), value);  // after it was recorded
    recording->launch();
    EXPECT_THAT(out(), Each(value));
  }
}

TEST_F(ExecutedGpuTest, ARecordingKeepsTheArgumentsThatItWasRecordedWith) {
  device::Allocation other = gpu_.memory().allocate("other", kCount * sizeof(float));
  float* to = floats(other);
  const auto recording = gpu_.record([&] { sum(to); });
  to = floats(out_);
  std::ranges::fill(host(), 3.0f);
  upload();
  recording->launch();
  EXPECT_THAT(out(), Each(testing::IsNan()));  // of which nothing was written
  other = {};
  EXPECT_THAT(error_of([&] { recording->launch(); }), HasSubstr("an address in no array"));
}

TEST_F(ExecutedGpuTest, NamesTheMemoryThatAKernelLeaves) {
  EXPECT_THAT(error_of([&] { sum(floats(out_) + 4); }), HasSubstr("of out, which has 32: outside"));
  gpu_.protect(out_.data());
  EXPECT_THAT(error_of([&] { sum(floats(out_)); }), HasSubstr("writes to out, a constant"));
}

TEST_F(ExecutedGpuTest, RefusesCopiesThatAGpuWouldNotTakeAsTheyAre) {
  const std::vector<float> pageable(kCount);
  EXPECT_THAT(error_of([&] { gpu_.upload(in_.data(), std::as_bytes(std::span(pageable)), "ids"); }),
              HasSubstr("copy of 'ids': "));
  EXPECT_THAT(error_of([&] { gpu_.copy(in_.data(), out_.data(), kCount * 4 + 1, "too much"); }),
              HasSubstr("33 bytes at byte 0 of in, which has 32: outside"));
  EXPECT_THAT(error_of([&] { gpu_.clear(pinned_.data(), 4, "host"); }), HasSubstr("no array"));
}

TEST_F(ExecutedGpuTest, RefusesInARecordingWhatAGpuRefuses) {
  const auto inside = [&](auto call) { return error_of([&] { gpu_.record(call); }); };
  EXPECT_EQ(inside([&] { gpu_.synchronize("it"); }), "waiting for 'it' inside a recording");
  EXPECT_EQ(inside([&] { gpu_.memory().allocate("more", 1); }), "an allocation inside a recording");
  EXPECT_EQ(inside([&] { gpu_.record([] {}); }), "a recording inside a recording");
  upload();  // and is not left recording
  sum(floats(out_));
  EXPECT_EQ(gpu_.launches(), 1u);
}

TEST(ExecutedGpuLate, DoesWhatIsWaitedForAndNoMore) {
  ExecutedGpu gpu(Runs::twice, Doing::when_asked);
  std::vector<int> done;
  const auto put = [&](int item) { gpu.put([&done, item] { done.push_back(item); }); };
  const auto mark = gpu.make_mark();
  EXPECT_TRUE(mark->reached());
  put(1);
  const auto recording = gpu.record([&] { put(2); });
  recording->launch();
  mark->set();
  put(3);
  EXPECT_TRUE(done.empty());
  EXPECT_FALSE(mark->reached());
  mark->wait("two items");
  EXPECT_EQ(done, (std::vector<int>{1, 2}));
  EXPECT_TRUE(mark->reached());
  put(4);
  gpu.synchronize("all");
  EXPECT_EQ(done, (std::vector<int>{1, 2, 3, 4}));
  EXPECT_THAT(error_of([&] { gpu.record([&] { mark->wait("it"); }); }),
              HasSubstr("waiting for 'it' inside a recording"));
}

TEST_F(ExecutedGpuTest, PutsOtherWorkInLineToo) {
  int done = 0;
  gpu_.put([&] { ++done; });
  EXPECT_EQ(done, 1);
  const auto recording = gpu_.record([&] { gpu_.put([&] { ++done; }); });
  EXPECT_EQ(done, 1);
  recording->launch();
  EXPECT_EQ(done, 2);
}

}  // namespace
}  // namespace lockstep::kernels::cuda

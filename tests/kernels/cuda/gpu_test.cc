// What every Gpu does with work in line: the executor and a device alike.
#include "kernels/cuda/gpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <optional>

#include "base/error.h"
#include "tests/kernels/cuda/random_values.h"
#include "tests/kernels/cuda/test_gpu.h"

namespace lockstep::kernels::cuda {
namespace {

using testing::Each;

class CudaGpu : public OnTestGpu {
 protected:
  static constexpr std::size_t kCount = 1024;

  void SetUp() override {
    OnTestGpu::SetUp();
    if (IsSkipped()) return;
    memory_.emplace();
    args_ = {.sum = {.segments = memory_->variable(random_floats(2 * kCount, 1), "segments"),
                     .stride = kCount,
                     .count = 2,
                     .merges = memory_->constant(std::vector<std::int32_t>{0, 1}, "merges")},
             .out = memory_->blank<float>(kCount, "out"),
             .values = kCount};
    pinned_ = gpu().pinned_memory().allocate("host", kCount * sizeof(float));
  }

  Gpu& gpu() { return memory_->gpu(); }
  float* segments() { return const_cast<float*>(args_.sum.segments); }
  std::span<float> host() { return {static_cast<float*>(pinned_.data()), kCount}; }

  std::optional<TestGpu> memory_;
  device::Allocation pinned_;
  SegmentSumArgs args_;
};

TEST_F(CudaGpu, DoesItsWorkInLine) {
  gpu().clear(segments(), 2 * kCount * sizeof(float), "segments");
  std::ranges::fill(host(), 2.5f);
  gpu().upload(segments(), std::as_bytes(host()), "the first");
  gpu().copy(segments() + kCount, segments(), kCount * sizeof(float), "the second");
  gpu().run(args_);
  EXPECT_THAT(memory_->values(args_.out), Each(5.0f));
}

TEST_F(CudaGpu, ARecordingHasTheBitsOfItsWork) {
  gpu().run(args_);
  const auto directly = bits(memory_->values(args_.out));
  gpu().clear(args_.out, kCount * sizeof(float), "out");
  const auto recording = gpu().record([&] { gpu().run(args_); });
  EXPECT_EQ(recording->nodes(), 1u);
  EXPECT_THAT(memory_->values(args_.out), Each(0.0f));  // nothing has run
  recording->launch();
  EXPECT_EQ(bits(memory_->values(args_.out)), directly);
}

TEST_F(CudaGpu, ARecordingReadsTheHostsMemoryAtEachLaunch) {
  const auto recording = gpu().record([&] {
    gpu().upload(segments(), std::as_bytes(host()), "the first");
    gpu().clear(segments() + kCount, kCount * sizeof(float), "the second");
    gpu().run(args_);
  });
  for (const float value : {3.0f, 5.0f}) {
    std::ranges::fill(host(), value);
    recording->launch();
    EXPECT_THAT(memory_->values(args_.out), Each(value));
  }
}

TEST_F(CudaGpu, AMarkIsReachedWhenTheWorkBeforeItIsDone) {
  const auto mark = gpu().make_mark();
  EXPECT_TRUE(mark->reached());
  for (int i = 0; i < 2; ++i) {  // it may be set again
    gpu().run(args_);
    gpu().download(std::as_writable_bytes(host()), args_.out, "out");
    mark->set();
    mark->wait("out");
    EXPECT_TRUE(mark->reached());
    EXPECT_EQ(bits({host().begin(), host().end()}), bits(memory_->values(args_.out)));
  }
}

TEST_F(CudaGpu, RefusesToWaitInsideARecording) {
  EXPECT_THROW(gpu().record([&] { gpu().synchronize("too early"); }), Error);
  gpu().run(args_);  // and goes on
  gpu().synchronize("the sum");
}

}  // namespace
}  // namespace lockstep::kernels::cuda

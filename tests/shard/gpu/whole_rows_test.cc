#include "shard/gpu/whole_rows.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <mutex>

#include "base/error.h"
#include "tests/shard/gpu/executed_exchange.h"

namespace lockstep::shard {
namespace {

constexpr std::int32_t kVocabulary = 53;

// Uneven, and of more than two ranks the second has none.
std::vector<VocabRange> ranges_of(int world) {
  std::vector<VocabRange> ranges;
  std::int32_t begin = 0;
  for (int rank = 0; rank < world; ++rank) {
    std::int32_t end = rank + 1 == world ? kVocabulary : begin + 7 + 4 * rank;
    if (world > 2 && rank == 1) end = begin;
    ranges.push_back({begin, end});
    begin = end;
  }
  return ranges;
}

float value_of(std::int32_t row, std::int32_t token) {
  return static_cast<float>(1000 * row + token);
}

class WholeRowsOfWorlds : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Worlds, WholeRowsOfWorlds, testing::Values(1, 2, 3, 4));

// In two steps, the second of which has fewer rows than ranks; rows are taken at two times.
TEST_P(WholeRowsOfWorlds, EachIsWholeOnItsRankAsItWasWhenItWasTaken) {
  const int world = GetParam();
  const auto ranges = ranges_of(world);
  std::mutex mutex;
  std::vector<int> seen;
  comm::spawn_ranks(world, std::chrono::seconds(20), [&](comm::Communicator& communicator) {
    kernels::cuda::ExecutedGpu gpu;
    ExecutedExchange exchange(gpu, communicator);
    const VocabRange mine = ranges[static_cast<std::size_t>(communicator.rank())];
    constexpr std::int32_t kRows = 6, kStride = 64;
    const auto memory = gpu.memory().allocate("logits", kRows * kStride * sizeof(float));
    auto* logits = static_cast<float*>(memory.data());
    GpuWholeRows whole(gpu, exchange, ranges, 8);
    StepUpload upload(gpu, GpuWholeRows::upload_bytes(8, world), [](kernels::cuda::Mark&) {});
    const std::vector<std::vector<std::int32_t>> steps = {{5, 0, 3, 1, 0}, {2}};
    for (const auto& rows : steps) {
      const auto fill = [&](std::int32_t added) {
        for (std::int32_t row = 0; row < kRows; ++row) {
          for (std::int32_t token = mine.begin; token < mine.end; ++token) {
            logits[row * kStride + token - mine.begin] = value_of(row, token + added);
          }
        }
      };
      const auto count = static_cast<std::int32_t>(rows.size());
      upload.begin();
      whole.lay_out(rows, kStride, upload);
      upload.send();
      fill(0);
      whole.take(logits, 0, 1);
      fill(100);
      whole.take(logits, 1, count);
      fill(200);
      whole.deal();
      const std::lock_guard lock(mutex);
      for (std::int32_t i = 0; i < whole.share(count); ++i) {
        const std::int32_t dealt = whole.dealt_as(i);
        seen.push_back(dealt);
        for (std::int32_t token = 0; token < kVocabulary; ++token) {
          ASSERT_EQ(whole.row(i)[token],
                    value_of(rows[static_cast<std::size_t>(dealt)], token + (dealt > 0 ? 100 : 0)))
              << "rank " << communicator.rank() << " row " << i << " token " << token;
        }
      }
    }
    communicator.barrier("end");
  });
  EXPECT_THAT(seen, testing::UnorderedElementsAre(0, 1, 2, 3, 4, 0));
}

TEST(WholeRows, RefusesMoreThanThereIsRoomFor) {
  comm::spawn_ranks(1, std::chrono::seconds(20), [](comm::Communicator& communicator) {
    kernels::cuda::ExecutedGpu gpu;
    ExecutedExchange exchange(gpu, communicator);
    GpuWholeRows whole(gpu, exchange, ranges_of(1), 2);
    StepUpload upload(gpu, 1 << 12, [](kernels::cuda::Mark&) {});
    upload.begin();
    EXPECT_THAT(
        [&] {
          whole.lay_out(std::vector<std::int32_t>{0, 1, 2}, 64, upload);
        },
        testing::ThrowsMessage<Error>(testing::HasSubstr("3 are too many")));
  });
}

}  // namespace
}  // namespace lockstep::shard

// Sums between ranks against the tree, climbed in plain loops over all lanes.
#include "shard/gpu/lane_reduce.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <random>

#include "tests/shard/gpu/executed_exchange.h"
#include "tests/shard/halved_tree.h"

namespace lockstep::shard {
namespace {

constexpr std::int32_t kGroups = 3, kLanesOfGroup = 3;
constexpr std::int32_t kLanes = kGroups * kLanesOfGroup;
constexpr std::chrono::nanoseconds kAmple = std::chrono::seconds(60);

std::vector<float> lane_values(std::int64_t values, unsigned lane) {
  std::mt19937 random(lane);
  std::normal_distribution<float> normal(0.0f, 1.0f);
  std::vector<float> all(static_cast<std::size_t>(values));
  for (float& value : all) value = normal(random);
  return all;
}

std::vector<float> added(std::vector<float> a, const std::vector<float>& b) {
  for (std::size_t i = 0; i < a.size(); ++i) a[i] += b[i];
  return a;
}

// What a rank with the lanes `run` computes: its segments, by the program of its products.
std::vector<std::vector<float>> segments_of(const LaneTree& tree, Range run, std::int64_t values) {
  const std::vector<std::int32_t> groups(kLanes, 1);
  const kernels::LaneProgram program = tree.program(run, groups);
  std::vector<std::vector<float>> stack;
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    stack.push_back(
        lane_values(values, static_cast<unsigned>(run.begin) + static_cast<unsigned>(i)));
    for (int merges = program.steps[i].merges; merges > 0; --merges) {
      const auto top = stack.back();
      stack.pop_back();
      stack.back() = added(stack.back(), top);
    }
  }
  return stack;
}

std::vector<std::uint32_t> bits(const float* first, std::int64_t count) {
  std::vector<std::uint32_t> all;
  for (std::int64_t i = 0; i < count; ++i) all.push_back(std::bit_cast<std::uint32_t>(first[i]));
  return all;
}

// Where a sum is made.
struct Way {
  std::int64_t gather_below;
  bool peers;  // in memory that ranks' kernels share
};

void add(kernels::cuda::Gpu& gpu, const LaneSum& sum, float* hidden, std::int64_t rows,
         std::int64_t columns) {
  const kernels::cuda::RmsNormArgs args{.hidden = hidden,
                                        .update = sum.gathered,
                                        .weight = nullptr,
                                        .out = nullptr,
                                        .row_indices = nullptr,
                                        .rows = static_cast<std::int32_t>(rows),
                                        .columns = static_cast<std::int32_t>(columns),
                                        .eps = 1.0f};
  if (sum.peers) return gpu.run(kernels::cuda::PeerNormArgs{args, *sum.peers});
  gpu.run(args);
}

TEST(GpuLaneReducer, GivesTheBitsOfOneRankInEveryCut) {
  const LaneTree tree = halved_tree(kGroups, kLanesOfGroup);
  for (const auto& [rows, columns] : {std::pair{1, 4}, {3, 32}, {5, 200}}) {
    const std::int64_t values = rows * columns;
    const auto whole = segments_of(tree, {0, kLanes}, values);
    ASSERT_EQ(whole.size(), 1u);
    const auto expected = bits(whole[0].data(), values);
    for (const std::vector<Range>& runs :
         std::vector<std::vector<Range>>{{{0, 9}},
                                         {{0, 5}, {5, 9}},
                                         {{0, 3}, {3, 6}, {6, 9}},
                                         {{0, 2}, {2, 3}, {3, 8}, {8, 9}}}) {
      for (const Way way : {Way{0, false}, Way{1 << 20, false}, Way{1 << 20, true}}) {
        comm::spawn_ranks(
            static_cast<int>(runs.size()), std::chrono::seconds(60),
            [&](comm::Communicator& communicator) {
              kernels::cuda::ExecutedGpu gpu(kernels::cuda::Runs::once);
              ExecutedExchange exchange(gpu, communicator,
                                        way.peers ? std::optional(kAmple) : std::nullopt);
              std::vector<std::vector<Range>> of_ranks;
              for (const Range& run : runs) of_ranks.push_back({run});
              // Beside another tree, which shares the buffers.
              GpuLaneReducer reducer(
                  gpu, exchange,
                  {one_segment_each(communicator.size()), segment_tree(tree, of_ranks)},
                  {5, columns, way.gather_below});
              const auto mine =
                  segments_of(tree, runs[static_cast<std::size_t>(communicator.rank())], values);
              float* to = reducer.segments(1, rows);
              for (const auto& segment : mine) to = std::ranges::copy(segment, to).out;
              const auto sum = reducer.reduce(1, rows, "test");
              const GpuArray<float> out(gpu, "out", values);
              std::fill_n(out.data(), values, 0.0f);
              add(gpu, sum, out.data(), rows, columns);
              EXPECT_EQ(bits(out.data(), values), expected)
                  << runs.size() << " ranks, " << values << " values";
              reducer.check();
              EXPECT_THAT(exchange.gathered_elsewhere, testing::IsEmpty());
              EXPECT_EQ(reducer.is_sliced(1, rows), way.gather_below == 0 && runs.size() > 1);
              EXPECT_EQ(reducer.is_left_to_kernels(rows), way.peers && runs.size() > 1);
              communicator.barrier("end");
            });
      }
    }
  }
}

// 3 segments of 8 columns: 96 bytes a row. Of four rows and more all segments are above the limit.
TEST(GpuLaneReducer, LeavesFewRowsToKernelsAndNoMore) {
  comm::spawn_ranks(3, std::chrono::seconds(60), [&](comm::Communicator& communicator) {
    kernels::cuda::ExecutedGpu gpu(kernels::cuda::Runs::once);
    ExecutedExchange exchange(gpu, communicator, kAmple);
    GpuLaneReducer reducer(gpu, exchange, {one_segment_each(3)}, {6, 8, 3 * 96});
    EXPECT_TRUE(reducer.is_left_to_kernels(1));
    EXPECT_TRUE(reducer.is_left_to_kernels(3));
    EXPECT_FALSE(reducer.is_left_to_kernels(4));
    EXPECT_TRUE(reducer.is_sliced(0, 4));
    communicator.barrier("end");
  });
}

TEST(GpuLaneReducer, NamesTheRankThatItsKernelsMissAndTheSum) {
  comm::spawn_ranks(2, std::chrono::seconds(60), [&](comm::Communicator& communicator) {
    kernels::cuda::ExecutedGpu gpu(kernels::cuda::Runs::once);
    ExecutedExchange exchange(gpu, communicator, std::chrono::milliseconds(50), 4);
    GpuLaneReducer reducer(gpu, exchange, {one_segment_each(2)}, {2, 8, 1 << 20});
    const GpuArray<float> out(gpu, "out", 16);
    if (communicator.rank() == 1) {
      std::fill_n(reducer.segments(0, 2), 16, 1.0f);
      std::fill_n(out.data(), 16, 0.0f);
      reducer.reduce(0, 2, "layer 11 mlp");  // that nobody adds
      add(gpu, reducer.reduce(0, 2, "layer 12 mlp"), out.data(), 2, 8);
      EXPECT_THAT(
          [&] { reducer.check(); },
          testing::ThrowsMessage<comm::CollectiveTimeout>(
              "rank 5: rank 4 did not come to 'layer 12 mlp' within 50 ms, as this rank's GPU "
              "saw it"));
      EXPECT_EQ(out.data()[0], 0.0f);
    }
    communicator.barrier("end");
  });
}

}  // namespace
}  // namespace lockstep::shard

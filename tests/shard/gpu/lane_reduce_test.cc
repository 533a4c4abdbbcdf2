// Sums between ranks against the tree, climbed in plain loops over all lanes.
#include "shard/gpu/lane_reduce.h"

#include <gtest/gtest.h>

#include <bit>
#include <random>

#include "tests/shard/gpu/executed_exchange.h"

namespace lockstep::shard {
namespace {

constexpr std::int32_t kGroups = 3, kLanesOfGroup = 3;
constexpr std::int32_t kLanes = kGroups * kLanesOfGroup;

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

TEST(GpuLaneReducer, GivesTheBitsOfOneRankInEveryCut) {
  const LaneTree tree(kGroups, kLanesOfGroup);
  for (const std::int64_t values : {4, 96, 1000}) {
    const auto whole = segments_of(tree, {0, kLanes}, values);
    ASSERT_EQ(whole.size(), 1u);
    const auto expected = bits(whole[0].data(), values);
    for (const std::vector<Range>& runs :
         std::vector<std::vector<Range>>{{{0, 9}},
                                         {{0, 5}, {5, 9}},
                                         {{0, 3}, {3, 6}, {6, 9}},
                                         {{0, 2}, {2, 3}, {3, 8}, {8, 9}}}) {
      for (const std::int64_t gather_below : {std::int64_t{0}, std::int64_t{1} << 20}) {
        comm::spawn_ranks(
            static_cast<int>(runs.size()), std::chrono::seconds(20),
            [&](comm::Communicator& communicator) {
              kernels::cuda::ExecutedGpu gpu(kernels::cuda::Runs::once);
              ExecutedExchange exchange(gpu, communicator);
              // Beside another tree, which shares the buffers.
              GpuLaneReducer reducer(
                  gpu, exchange, {one_segment_each(communicator.size()), segment_tree(tree, runs)},
                  {1000, gather_below});
              const auto mine =
                  segments_of(tree, runs[static_cast<std::size_t>(communicator.rank())], values);
              float* to = reducer.segments(1, values);
              for (const auto& segment : mine) to = std::ranges::copy(segment, to).out;
              const auto sum = reducer.reduce(1, values, "test");
              const GpuArray<float> out(gpu, "out", values);
              gpu.run(kernels::cuda::SegmentSumArgs{sum, out.data(), values});
              EXPECT_EQ(bits(out.data(), values), expected)
                  << runs.size() << " ranks, " << values << " values";
              EXPECT_EQ(reducer.is_sliced(1, values), gather_below == 0 && runs.size() > 1);
              communicator.barrier("end");
            });
      }
    }
  }
}

}  // namespace
}  // namespace lockstep::shard

// The all-reduce against the tree in plain loops: the same bits in shared memory and by copies.
#include "shard/lane_reduce.h"

#include <gtest/gtest.h>

#include <random>

#include "kernels/cpu_family.h"
#include "tests/shard/halved_tree.h"
#include "tests/shard/not_shared.h"

namespace lockstep::shard {
namespace {

constexpr std::chrono::seconds kDeadline{20};
constexpr std::int32_t kLanes = 6;
constexpr int kRounds = 5;

std::vector<Range> even_runs(int world) {
  std::vector<Range> runs;
  for (int r = 0; r < world; ++r) runs.push_back({kLanes * r / world, kLanes * (r + 1) / world});
  return runs;
}

float lane_value(int round, std::int64_t lane, std::int64_t i) {
  std::minstd_rand random(static_cast<unsigned>(1 + round * 7919 + lane * 104729 + i * 31));
  random();
  return static_cast<float>(random()) / 1e6f;
}

// The sum of all lanes in the tree's order.
float tree_sum(const LaneTree& tree, int round, std::int64_t i) {
  const Range all{0, kLanes};
  const std::vector<std::int32_t> groups(kLanes, 1);
  std::vector<float> stack;
  const auto program = tree.program(all, groups);
  for (std::size_t lane = 0; lane < program.steps.size(); ++lane) {
    stack.push_back(lane_value(round, static_cast<std::int64_t>(lane), i));
    for (int merge = 0; merge < program.steps[lane].merges; ++merge) {
      const float top = stack.back();
      stack.pop_back();
      stack.back() += top;
    }
  }
  return stack.front();
}

struct Case {
  int world;
  bool shared;
};

class LaneReduce : public testing::TestWithParam<Case> {};

TEST_P(LaneReduce, GivesEveryRankTheTreesSum) {
  const auto [world, shared] = GetParam();
  const LaneTree tree = halved_tree(3, 2);
  const auto runs = even_runs(world);
  const std::vector<std::int32_t> groups(kLanes, 1);
  comm::spawn_ranks(world, kDeadline, [&](comm::Communicator& threads) {
    NotShared apart(threads);
    comm::Communicator& communicator = shared ? threads : static_cast<comm::Communicator&>(apart);
    kernels::ThreadPool pool(2);
    const std::int64_t large = 1 << 17;
    LaneReducer reducer(tree, runs, communicator, pool,
                        kernels::kernel_table(kernels::CpuFamily::scalar), large);
    EXPECT_EQ(reducer.in_place(), shared && world > 1);
    const Range mine = runs[static_cast<std::size_t>(communicator.rank())];
    const auto program = tree.program(mine, groups);
    // Rounds follow each other at once: a fast rank must not overwrite what a slow one reads.
    for (int round = 0; round < kRounds; ++round) {
      const std::int64_t values = round % 2 == 0 ? 48 : large;
      float* out = reducer.segments(values);
      for (std::int64_t i = 0; i < values; ++i) {
        std::vector<float> stack;
        for (std::size_t lane = 0; lane < program.steps.size(); ++lane) {
          stack.push_back(
              lane_value(round, mine.begin + static_cast<std::int64_t>(lane), i % 1000));
          for (int merge = 0; merge < program.steps[lane].merges; ++merge) {
            const float top = stack.back();
            stack.pop_back();
            stack.back() += top;
          }
        }
        for (std::size_t s = 0; s < stack.size(); ++s) {
          out[static_cast<std::int64_t>(s) * values + i] = stack[s];
        }
      }
      // In pieces of three lines, and in a last one of what is left.
      std::vector<float> scratch(static_cast<std::size_t>(values)), sum;
      const ReducedSum reduced = reducer.reduce(values, "test");
      for (std::int64_t i = 0; i < values; i += 48) {
        const std::int64_t count = std::min<std::int64_t>(48, values - i);
        const float* piece = reduced.piece(i, count, scratch.data());
        sum.insert(sum.end(), piece, piece + count);
      }
      for (std::int64_t i = 0; i < values; ++i) {
        ASSERT_EQ(sum[i], tree_sum(tree, round, i % 1000)) << "round " << round << ", value " << i;
      }
    }
  });
}

INSTANTIATE_TEST_SUITE_P(Worlds, LaneReduce,
                         testing::Values(Case{1, true}, Case{2, true}, Case{2, false},
                                         Case{3, true}, Case{3, false}, Case{4, true},
                                         Case{4, false}, Case{6, true}),
                         [](const auto& info) {
                           return std::to_string(info.param.world) +
                                  (info.param.shared ? "_shared" : "_copied");
                         });

}  // namespace
}  // namespace lockstep::shard

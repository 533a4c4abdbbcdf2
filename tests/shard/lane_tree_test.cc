#include "shard/lane_tree.h"

#include <gtest/gtest.h>

#include <string>

#include "shard/partition.h"
#include "tests/shard/halved_tree.h"

namespace lockstep::shard {
namespace {

// Runs a lane program on strings, so that the order of the sum can be read.
std::vector<std::string> run_program(const kernels::LaneProgram& program, int first_lane) {
  std::vector<std::string> stack;
  for (const auto& step : program.steps) {
    stack.push_back(std::to_string(first_lane++));
    for (int merge = 0; merge < step.merges; ++merge) {
      const std::string top = stack.back();
      stack.pop_back();
      stack.back() = "(" + stack.back() + "+" + top + ")";
    }
  }
  return stack;
}

std::string finish(const LaneTree& tree, const std::vector<Range>& runs) {
  const std::vector<std::int32_t> groups(static_cast<std::size_t>(tree.lanes()), 1);
  std::vector<std::string> segments, stack;
  for (const Range& run : runs) {
    const auto program = tree.program(run, groups);
    const auto mine = run_program(program, run.begin);
    EXPECT_EQ(static_cast<int>(mine.size()), program.segments);
    EXPECT_EQ(tree.segments(run), program.segments);
    segments.insert(segments.end(), mine.begin(), mine.end());
  }
  const auto merges = tree.finish(runs);
  EXPECT_EQ(merges.size(), segments.size());
  for (std::size_t i = 0; i < merges.size(); ++i) {
    stack.push_back(segments[i]);
    for (int merge = 0; merge < merges[i]; ++merge) {
      const std::string top = stack.back();
      stack.pop_back();
      stack.back() = "(" + stack.back() + "+" + top + ")";
    }
  }
  EXPECT_EQ(stack.size(), 1u);
  return stack.empty() ? "" : stack[0];
}

TEST(LaneTree, HalvesGroupsThenLanes) {
  const LaneTree tree = halved_tree(3, 3);
  EXPECT_EQ(finish(tree, {{0, 9}}), "((((0+1)+2)+((3+4)+5))+((6+7)+8))");
}

TEST(LaneTree, CutsNodesWhereItsTurnSays) {
  EXPECT_EQ(finish(LaneTree({2, 0, 1, 1, 1}), {{0, 6}}), "((0+1)+((2+3)+(4+5)))");
  EXPECT_EQ(finish(LaneTree(std::vector{3, 2, 1, 0}), {{0, 5}}), "((((0+1)+2)+3)+4)");
  EXPECT_EQ(finish(LaneTree(std::vector<std::int32_t>{}), {{0, 1}}), "0");
  EXPECT_EQ(LaneTree({0, 1, 2, 3}).deepest_stack(), 5);
  EXPECT_EQ(LaneTree(std::vector{3, 2, 1, 0}).deepest_stack(), 2);
}

TEST(LaneTree, AWholeSubtreeIsOneSegment) {
  const LaneTree tree = halved_tree(3, 3);
  EXPECT_EQ(tree.segments({0, 6}), 1);
  EXPECT_EQ(tree.segments({6, 9}), 1);
  EXPECT_EQ(tree.segments({0, 4}), 2);
  EXPECT_EQ(tree.segments({4, 9}), 3);
}

void expect_the_same_tree_in_every_split(const LaneTree& tree) {
  const std::string expected = finish(tree, {{0, tree.lanes()}});
  for (int a = 1; a < tree.lanes(); ++a) {
    ASSERT_EQ(finish(tree, {{0, a}, {a, tree.lanes()}}), expected);
    for (int b = a + 1; b < tree.lanes(); ++b) {
      ASSERT_EQ(finish(tree, {{0, a}, {a, b}, {b, tree.lanes()}}), expected);
    }
  }
  std::vector<Range> single;
  for (int lane = 0; lane < tree.lanes(); ++lane) single.push_back({lane, lane + 1});
  EXPECT_EQ(finish(tree, single), expected);
}

TEST(LaneTree, EverySplitFinishesTheSameTree) {
  for (const auto& [groups, lanes] : {std::pair{3, 3}, {1, 9}, {8, 4}, {5, 1}, {2, 7}}) {
    expect_the_same_tree_in_every_split(halved_tree(groups, lanes));
  }
}

// What one rank leaves in pieces is the same tree.
TEST(LaneTree, PiecesAreWholeSubtrees) {
  for (const auto& [groups, lanes] : {std::pair{3, 3}, {8, 4}, {1, 1}, {2, 7}}) {
    const LaneTree tree = halved_tree(groups, lanes);
    const Range all{0, tree.lanes()};
    EXPECT_EQ(tree.pieces(0), std::vector{all});
    const std::vector<Range> pieces = tree.pieces(2);
    EXPECT_EQ(std::ssize(pieces), std::min(4, tree.lanes()));
    for (const Range& piece : pieces) EXPECT_EQ(tree.segments(piece), 1);
    EXPECT_EQ(finish(tree, pieces), finish(tree, {all}));
    const std::vector<std::int32_t> ones(static_cast<std::size_t>(tree.lanes()), 1);
    EXPECT_EQ(tree.program(pieces, ones).segments, std::ssize(pieces));
  }
}

// Query heads and key-value heads of models: cut where ranks part.
TEST(LaneTree, EverySplitFinishesTheTreesOfModels) {
  for (const auto& [heads, kv_heads] :
       {std::pair{9, 3}, {24, 8}, {28, 4}, {40, 40}, {7, 1}, {2, 1}, {1, 1}}) {
    model::ModelConfig config;
    config.num_attention_heads = heads;
    config.num_key_value_heads = kv_heads;
    config.head_dim = 64;
    config.intermediate_size = 32 * 100;
    const LaneTrees trees = lane_trees(config);
    expect_the_same_tree_in_every_split(trees.attention);
    expect_the_same_tree_in_every_split(trees.mlp);
  }
}

}  // namespace
}  // namespace lockstep::shard

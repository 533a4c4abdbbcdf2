#include "kernels/cuda/sum_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <utility>

#include "base/error.h"

namespace lockstep::kernels::cuda {
namespace {

// A plan's sums as formulas over the groups of its leaves.
std::vector<std::string> formulas(const HostSumPlan& plan) {
  std::vector<std::string> sums;
  for (const Leaf& leaf : plan.leaves) {
    const auto last = leaf.first_group + leaf.groups - 1;
    sums.push_back(std::to_string(leaf.first_group) + "-" + std::to_string(last));
  }
  for (std::size_t lane = 0; lane + 1 < plan.lanes.size(); ++lane) {
    const auto first = static_cast<std::size_t>(plan.lanes[lane]);
    for (auto leaf = first + 1; std::cmp_less(leaf, plan.lanes[lane + 1]); ++leaf) {
      sums[first] = "(" + sums[first] + " + " + sums[leaf] + ")";
    }
  }
  for (const auto& [into, from] : plan.additions) {
    auto& sum = sums[static_cast<std::size_t>(into)];
    sum = "(" + sum + " + " + sums[static_cast<std::size_t>(from)] + ")";
  }
  std::vector<std::string> segments;
  for (const auto leaf : plan.segments) segments.push_back(sums[static_cast<std::size_t>(leaf)]);
  return segments;
}

using Formulas = std::vector<std::string>;

TEST(CudaSumPlan, CutsALaneIntoLeavesOfEightGroups) {
  EXPECT_EQ(formulas(make_sum_plan(whole_sum(32))), Formulas{"0-0"});
  EXPECT_EQ(formulas(make_sum_plan(whole_sum(256))), Formulas{"0-7"});
  EXPECT_EQ(formulas(make_sum_plan(whole_sum(576))), Formulas{"((0-7 + 8-15) + 16-17)"});
}

TEST(CudaSumPlan, AddsLanesAsTheirProgramSays) {
  const LaneProgram program{{{9, 0}, {8, 1}, {1, 0}, {1, 0}, {2, 1}}, 3};
  EXPECT_EQ(formulas(make_sum_plan(program)),
            (Formulas{"((0-7 + 8-8) + 9-16)", "17-17", "(18-18 + 19-20)"}));
}

TEST(CudaSumPlan, ALanesSumIsTheSameOnEveryRank) {
  // Four lanes of 10 groups on one rank, or two and two: the same tree from the same leaves.
  const auto whole = formulas(make_sum_plan({{{10, 0}, {10, 1}, {10, 0}, {10, 2}}, 1}));
  const auto half = formulas(make_sum_plan({{{10, 0}, {10, 1}}, 1}));
  EXPECT_EQ(half, Formulas{"((0-7 + 8-9) + (10-17 + 18-19))"});
  EXPECT_EQ(whole, Formulas{"(" + half[0] + " + ((20-27 + 28-29) + (30-37 + 38-39)))"});
}

// So that all additions of a level can be done at once.
TEST(CudaSumPlan, ALevelTouchesALaneOnce) {
  const auto plan = make_sum_plan({{{100, 0}, {37, 1}, {8, 0}, {64, 2}}, 1});
  std::int32_t begin = 0;
  for (const std::int32_t end : plan.level_ends) {
    std::vector<int> touched(plan.leaves.size());
    for (std::int32_t i = begin; i < end; ++i) {
      const auto& [into, from] = plan.additions[static_cast<std::size_t>(i)];
      EXPECT_EQ(++touched[static_cast<std::size_t>(into)], 1);
      EXPECT_EQ(++touched[static_cast<std::size_t>(from)], 1);
    }
    EXPECT_LT(begin, end);
    begin = end;
  }
  EXPECT_EQ(static_cast<std::size_t>(begin), plan.additions.size());
}

// Who sums leaves in their order, with a stack, adds the same.
TEST(CudaSumPlan, LeavesSayHowAStackAddsThem) {
  for (const LaneProgram& program :
       {whole_sum(576), whole_sum(14336), LaneProgram{{{9, 0}, {8, 1}, {1, 0}, {1, 0}, {2, 1}}, 3},
        LaneProgram{{{100, 0}, {37, 1}, {8, 0}, {64, 2}}, 1}}) {
    const HostSumPlan plan = make_sum_plan(program);
    std::vector<std::string> stack;
    std::int32_t deepest = 0;
    std::size_t of_earlier_segments = 0;
    for (std::int32_t i = 0; i < std::ssize(plan.leaves); ++i) {
      if (std::ranges::count(plan.segments, i) > 0) of_earlier_segments = stack.size();
      const std::size_t waiting = stack.size() - of_earlier_segments;
      if (waiting > 0) deepest = std::max(deepest, static_cast<std::int32_t>(waiting) - 1);
      const Leaf& leaf = plan.leaves[static_cast<std::size_t>(i)];
      stack.push_back(std::to_string(leaf.first_group) + "-" +
                      std::to_string(leaf.first_group + leaf.groups - 1));
      for (int merges = leaf.merges; merges > 0; --merges) {
        const std::string top = stack.back();
        stack.pop_back();
        stack.back() = "(" + stack.back() + " + " + top + ")";
      }
    }
    EXPECT_EQ(stack, formulas(plan));
    EXPECT_EQ(plan.depth, deepest);
  }
}

TEST(CudaSumPlan, RefusesProgramsThatAreNone) {
  EXPECT_THROW(make_sum_plan({{{0, 0}}, 1}), Error);
  EXPECT_THROW(make_sum_plan({{{1, 1}}, 1}), Error);
}

}  // namespace
}  // namespace lockstep::kernels::cuda

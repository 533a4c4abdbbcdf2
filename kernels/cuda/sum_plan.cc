#include "kernels/cuda/sum_plan.h"

#include <algorithm>
#include <cstddef>
#include <string>
#include <utility>

#include "base/error.h"

namespace lockstep::kernels::cuda {
namespace {

class Planner {
 public:
  // Adds a lane: its sum is the newest on the stack.
  void push(std::int32_t groups) {
    const auto first = std::ssize(plan_.leaves);
    for (std::int32_t done = 0; done < groups; done += kLeafGroups) {
      const std::int32_t of_leaf = std::min(kLeafGroups, groups - done);
      plan_.leaves.push_back({next_group_ + done, static_cast<std::int16_t>(of_leaf), 0});
    }
    next_group_ += groups;
    stack_.push_back(tree(static_cast<std::int32_t>(first),
                          static_cast<std::int32_t>(std::ssize(plan_.leaves))));
  }

  void merge() {
    const Sum top = stack_.back();
    stack_.pop_back();
    stack_.back() = added(stack_.back(), top);
  }

  std::size_t sums() const { return stack_.size(); }

  HostSumPlan finish() && {
    for (const auto& level : levels_) {
      plan_.additions.insert(plan_.additions.end(), level.begin(), level.end());
      plan_.level_ends.push_back(static_cast<std::int32_t>(plan_.additions.size()));
    }
    for (const Sum& sum : stack_) plan_.segments.push_back(sum.leaf);
    std::int32_t waiting = 0;  // of this segment, the top among them
    for (std::int32_t leaf = 0; std::cmp_less(leaf, plan_.leaves.size()); ++leaf) {
      if (std::ranges::binary_search(plan_.segments, leaf)) waiting = 0;
      plan_.depth = std::max(plan_.depth, waiting - 1);
      waiting += 1 - plan_.leaves[static_cast<std::size_t>(leaf)].merges;
    }
    return std::move(plan_);
  }

 private:
  struct Sum {
    std::int32_t leaf;  // where it lies: the first of its leaves
    std::int32_t last;  // of them
    std::size_t level;  // how many levels have to be done before it is complete
  };

  Sum added(Sum a, Sum b) {
    const std::size_t level = std::max(a.level, b.level);
    if (level == levels_.size()) levels_.emplace_back();
    levels_[level].push_back({a.leaf, b.leaf});
    ++plan_.leaves[static_cast<std::size_t>(b.last)].merges;
    return {a.leaf, b.last, level + 1};
  }

  Sum tree(std::int32_t begin, std::int32_t end) {
    if (end - begin == 1) return {begin, begin, 0};
    const std::int32_t middle = begin + (end - begin + 1) / 2;
    const Sum left = tree(begin, middle);
    return added(left, tree(middle, end));
  }

  HostSumPlan plan_;
  std::vector<std::vector<Addition>> levels_;
  std::vector<Sum> stack_;
  std::int32_t next_group_ = 0;
};

}  // namespace

HostSumPlan make_sum_plan(const LaneProgram& program) {
  Planner planner;
  for (std::size_t i = 0; i < program.steps.size(); ++i) {
    const LaneStep& step = program.steps[i];
    const std::string lane = "lane " + std::to_string(i);
    if (step.groups < 1) throw Error(lane + " of a product has no columns");
    planner.push(step.groups);
    if (step.merges < 0 || static_cast<std::size_t>(step.merges) >= planner.sums()) {
      throw Error(lane + " of a product merges " + std::to_string(step.merges) + " times with " +
                  std::to_string(planner.sums()) + " sums there");
    }
    for (std::int32_t merges = step.merges; merges > 0; --merges) planner.merge();
  }
  return std::move(planner).finish();
}

}  // namespace lockstep::kernels::cuda

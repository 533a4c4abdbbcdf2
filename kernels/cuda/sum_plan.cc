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
    const std::int32_t first = num_leaves();
    plan_.lanes.push_back(first);
    for (std::int32_t done = 0; done < groups; done += kLeafGroups) {
      const std::int32_t of_leaf = std::min(kLeafGroups, groups - done);
      const std::int16_t merges = done > 0 ? 1 : 0;  // with the leaves before it
      plan_.leaves.push_back({next_group_ + done, static_cast<std::int16_t>(of_leaf), merges});
    }
    next_group_ += groups;
    stack_.push_back({first, num_leaves() - 1, 0});
  }

  void merge() {
    const Sum b = stack_.back();
    stack_.pop_back();
    Sum& a = stack_.back();
    const std::size_t level = std::max(a.level, b.level);
    if (level == levels_.size()) levels_.emplace_back();
    levels_[level].push_back({a.leaf, b.leaf});
    ++plan_.leaves[static_cast<std::size_t>(b.last)].merges;
    a = {a.leaf, b.last, level + 1};
  }

  std::size_t sums() const { return stack_.size(); }

  HostSumPlan finish() && {
    plan_.lanes.push_back(num_leaves());
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
    std::int32_t leaf;  // the first of its leaves
    std::int32_t last;  // of them
    std::size_t level;  // how many levels have to be done before it is complete
  };

  std::int32_t num_leaves() const { return static_cast<std::int32_t>(std::ssize(plan_.leaves)); }

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

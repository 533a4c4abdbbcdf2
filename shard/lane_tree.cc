#include "shard/lane_tree.h"

#include <algorithm>
#include <functional>

namespace lockstep::shard {

std::int32_t LaneTree::middle(Range node) const {
  if (node.size() > lanes_per_group_) {
    const std::int32_t groups = node.size() / lanes_per_group_;
    return node.begin + (groups + 1) / 2 * lanes_per_group_;
  }
  return node.begin + (node.size() + 1) / 2;
}

kernels::LaneProgram LaneTree::program(Range run, std::span<const std::int32_t> lane_groups) const {
  kernels::LaneProgram program{{}, 0};
  const std::function<void(Range)> walk = [&](Range node) {
    if (node.end <= run.begin || node.begin >= run.end) return;
    if (node.size() == 1) {
      program.steps.push_back({lane_groups[static_cast<std::size_t>(node.begin)], 0});
      ++program.segments;
      return;
    }
    const std::int32_t mid = middle(node);
    walk({node.begin, mid});
    walk({mid, node.end});
    if (run.begin <= node.begin && node.end <= run.end) {
      ++program.steps.back().merges;
      --program.segments;
    }
  };
  walk({0, lanes_});
  return program;
}

std::int32_t LaneTree::segments(Range run) const {
  return program(run, std::vector<std::int32_t>(static_cast<std::size_t>(lanes_), 1)).segments;
}

std::vector<std::int32_t> LaneTree::finish(std::span<const Range> runs) const {
  std::vector<std::int32_t> merges;
  const std::function<void(Range)> walk = [&](Range node) {
    const bool inside = std::ranges::any_of(
        runs, [node](const Range& run) { return run.begin <= node.begin && node.end <= run.end; });
    if (inside) {
      merges.push_back(0);
      return;
    }
    const std::int32_t mid = middle(node);
    walk({node.begin, mid});
    walk({mid, node.end});
    ++merges.back();
  };
  walk({0, lanes_});
  return merges;
}

}  // namespace lockstep::shard

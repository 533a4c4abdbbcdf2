#include "shard/lane_tree.h"

#include <algorithm>
#include <cstdlib>
#include <functional>
#include <utility>

namespace lockstep::shard {
namespace {

bool lies_in_one(std::span<const Range> runs, Range node) {
  return std::ranges::any_of(
      runs, [node](const Range& run) { return run.begin <= node.begin && node.end <= run.end; });
}

}  // namespace

std::int32_t LaneTree::cut(Range node) const {
  std::int32_t best = node.begin + 1;
  const auto place = [&](std::int32_t lane) {
    return std::pair(turns_[static_cast<std::size_t>(lane - 1)],
                     std::abs(2 * lane - node.begin - node.end));
  };
  for (std::int32_t lane = best + 1; lane < node.end; ++lane) {
    if (place(lane) <= place(best)) best = lane;
  }
  return best;
}

kernels::LaneProgram LaneTree::program(Range run, std::span<const std::int32_t> lane_groups) const {
  return program(std::span(&run, 1), lane_groups);
}

kernels::LaneProgram LaneTree::program(std::span<const Range> runs,
                                       std::span<const std::int32_t> lane_groups) const {
  const std::int32_t begin = runs.front().begin, end = runs.back().end;
  kernels::LaneProgram program{{}, 0};
  const std::function<void(Range)> walk = [&](Range node) {
    if (node.end <= begin || node.begin >= end) return;
    if (node.size() == 1) {
      program.steps.push_back({lane_groups[static_cast<std::size_t>(node.begin)], 0});
      ++program.segments;
      return;
    }
    const std::int32_t mid = cut(node);
    walk({node.begin, mid});
    walk({mid, node.end});
    if (lies_in_one(runs, node)) {
      ++program.steps.back().merges;
      --program.segments;
    }
  };
  walk({0, lanes()});
  return program;
}

std::vector<Range> LaneTree::pieces(int times) const {
  std::vector<Range> pieces = {{0, lanes()}};
  for (; times > 0; --times) {
    std::vector<Range> halves;
    for (const Range& piece : pieces) {
      if (piece.size() == 1) {
        halves.push_back(piece);
        continue;
      }
      const std::int32_t middle = cut(piece);
      halves.push_back({piece.begin, middle});
      halves.push_back({middle, piece.end});
    }
    pieces = std::move(halves);
  }
  return pieces;
}

std::int32_t LaneTree::deepest_stack() const {
  const std::function<std::int32_t(Range)> of = [&](Range node) -> std::int32_t {
    if (node.size() == 1) return 1;
    const std::int32_t middle = cut(node);
    return std::max(of({node.begin, middle}), 1 + of({middle, node.end}));
  };
  return of({0, lanes()});
}

std::int32_t LaneTree::segments(Range run) const {
  return program(run, std::vector<std::int32_t>(static_cast<std::size_t>(lanes()), 1)).segments;
}

std::vector<std::int32_t> LaneTree::finish(std::span<const Range> runs) const {
  std::vector<std::int32_t> merges;
  const std::function<void(Range)> walk = [&](Range node) {
    if (lies_in_one(runs, node)) {
      merges.push_back(0);
      return;
    }
    const std::int32_t mid = cut(node);
    walk({node.begin, mid});
    walk({mid, node.end});
    ++merges.back();
  };
  walk({0, lanes()});
  return merges;
}

}  // namespace lockstep::shard

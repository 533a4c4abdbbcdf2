// The one binary tree in which every row-parallel product of a model is summed.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "kernels/lanes.h"

namespace lockstep::shard {

// A half-open run of indices.
struct Range {
  std::int32_t begin = 0;
  std::int32_t end = 0;
  std::int32_t size() const { return end - begin; }
  friend bool operator==(const Range&, const Range&) = default;
};

// A binary tree over lanes, which depends on the model alone. A rank owns a contiguous run of lanes
// and sums the subtrees that lie wholly inside it, its segments; ranks exchange segments and all
// finish the same tree.
class LaneTree {
 public:
  // Every node is cut in two where it comes first: turns[i] is the turn of the cut behind lane i.
  // Of cuts of the same turn the one next to the middle comes first, of two such the one on the
  // right.
  explicit LaneTree(std::vector<std::int32_t> turns) : turns_(std::move(turns)) {}

  std::int32_t lanes() const { return static_cast<std::int32_t>(turns_.size()) + 1; }

  // What a rank with the lanes `run` computes. lane_groups[i]: groups of 32 along K in lane i.
  kernels::LaneProgram program(Range run, std::span<const std::int32_t> lane_groups) const;
  // The same of a rank that leaves the sums of several `runs` to whoever adds segments.
  kernels::LaneProgram program(std::span<const Range> runs,
                               std::span<const std::int32_t> lane_groups) const;

  // All lanes, cut in two `times` times where nodes have two lanes, each time everywhere.
  std::vector<Range> pieces(int times) const;

  // The most sums that lie on the stack at once, of whoever sums all lanes or finishes any runs.
  std::int32_t deepest_stack() const;

  // How many segments the rank with `run` writes.
  std::int32_t segments(Range run) const;

  // How the segments of all ranks, in lane order, become one sum: element i is the number of
  // merges of the two topmost sums after segment i is pushed. `runs` cover all lanes in order.
  std::vector<std::int32_t> finish(std::span<const Range> runs) const;

 private:
  // The first lane of a node's right half. REQUIRES: node.size() > 1.
  std::int32_t cut(Range node) const;

  std::vector<std::int32_t> turns_;
};

}  // namespace lockstep::shard

// The one binary tree in which every row-parallel product of a model is summed.
#pragma once

#include <cstdint>
#include <span>
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

// A binary tree over `groups` groups of `lanes_per_group` lanes (key-value heads and their query
// heads): first the groups are halved, then the lanes inside one; the left half takes the odd one.
// The tree depends on the model alone. A rank owns a contiguous run of lanes and sums the subtrees
// that lie wholly inside it, its segments; ranks exchange segments and all finish the same tree.
class LaneTree {
 public:
  LaneTree(std::int32_t groups, std::int32_t lanes_per_group)
      : lanes_(groups * lanes_per_group), lanes_per_group_(lanes_per_group) {}

  std::int32_t lanes() const { return lanes_; }

  // What a rank with the lanes `run` computes. lane_groups[i]: groups of 32 along K in lane i.
  kernels::LaneProgram program(Range run, std::span<const std::int32_t> lane_groups) const;

  // How many segments the rank with `run` writes.
  std::int32_t segments(Range run) const;

  // How the segments of all ranks, in lane order, become one sum: element i is the number of
  // merges of the two topmost sums after segment i is pushed. `runs` cover all lanes in order.
  std::vector<std::int32_t> finish(std::span<const Range> runs) const;

 private:
  std::int32_t middle(Range node) const;

  std::int32_t lanes_;
  std::int32_t lanes_per_group_;
};

}  // namespace lockstep::shard

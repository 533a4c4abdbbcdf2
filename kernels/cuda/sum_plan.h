// In which order a product sums over K: leaves, then a tree of additions.
//
// A leaf is up to kLeafGroups groups of 32 columns, summed one after the other by one warp. The
// leaves of a lane (kernels/lanes.h) are its groups in eights, the rest last; they are added one
// after the other, and lanes are added as their program says. All of this follows from the lane
// program: which warp, block or rank sums a leaf, and how many rows are multiplied, has no part in
// it.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/lanes.h"

namespace lockstep::kernels::cuda {

inline constexpr std::int32_t kLeafGroups = 8;

struct alignas(8) Leaf {
  std::int32_t first_group;
  std::int16_t groups;  // at most kLeafGroups
  // The same additions for who sums leaves in their order: the leaf's sum is put on a stack, then
  // so many times the two topmost sums a (below) and b (top) become a + b.
  std::int16_t merges;
};

// The sum of a lane whose first leaf is `into` becomes itself plus that of one whose first is
// `from`.
struct alignas(8) Addition {
  std::int32_t into;
  std::int32_t from;
};

// What kernels read: all arrays in device memory.
struct SumPlan {
  const Leaf* leaves;
  const std::int32_t* lanes;       // [num_lanes + 1]: their first leaves, then num_leaves
  const Addition* additions;       // level after level; those of one level have no lane in common
  const std::int32_t* level_ends;  // [num_levels]: behind the last addition of each level
  const std::int32_t* segments;    // [num_segments]: the first leaf of each
  std::int32_t num_leaves;
  std::int32_t num_lanes;
  std::int32_t num_levels;
  std::int32_t num_segments;
  std::int32_t depth;  // as HostSumPlan's
};

// The same on the host.
struct HostSumPlan {
  std::vector<Leaf> leaves;
  std::vector<std::int32_t> lanes;
  std::vector<Addition> additions;
  std::vector<std::int32_t> level_ends;
  std::vector<std::int32_t> segments;
  // The most sums of one segment that wait below the top of the stack while a leaf is summed.
  std::int32_t depth = 0;
};

// Throws Error if a lane has no group, or if the program merges more sums than there are.
HostSumPlan make_sum_plan(const LaneProgram& program);

}  // namespace lockstep::kernels::cuda

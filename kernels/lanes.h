// How a row-parallel product is summed: lanes along K, combined in a fixed binary tree.
#pragma once

#include <cstdint>
#include <vector>

namespace lockstep::kernels {

// Values along K in the unit that lanes are made of.
inline constexpr int kGroup = 32;

// One lane as a product's kernel sees it. The kernel keeps a stack of partial sums: it sums the
// next `groups` groups of 32 along K in order, pushes the sum, then `merges` times replaces the two
// topmost sums a (below) and b (top) by a + b. What is left on the stack when all lanes are done
// are the segments that it writes.
struct LaneStep {
  std::int32_t groups = 0;
  std::int32_t merges = 0;
};

struct LaneProgram {
  std::vector<LaneStep> steps;
  std::int32_t segments = 1;  // sums left on the stack
};

// The deepest stack that kernels hold, and so the most segments of one rank. Whoever makes programs
// sees to it (shard/partition.h).
inline constexpr int kMaxSegments = 24;

// A product whose sum is not split: one lane over all of K.
inline LaneProgram whole_sum(std::int64_t k) {
  return {{LaneStep{static_cast<std::int32_t>(k / kGroup), 0}}, 1};
}

}  // namespace lockstep::kernels

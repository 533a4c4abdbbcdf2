// The ordered sum of segments (kernels/lanes.h): how the partial sums of all ranks become one.
#pragma once

#include <cstdint>

#include "kernels/cuda/grid.h"
#include "kernels/lanes.h"

namespace lockstep::kernels::cuda {

// `count` arrays of the same shape, one a segment, in the order of their lanes. After segment i is
// pushed on a stack, the two topmost sums a (below) and b (top) are replaced by a + b merges[i]
// times (shard/lane_tree.h: LaneTree::finish). One sum must be left.
struct SegmentSum {
  const float* segments = nullptr;       // segment i begins at i * stride
  std::int64_t stride = 0;               // in floats; a multiple of 4
  std::int32_t count = 0;                // 0: nothing is added
  const std::int32_t* merges = nullptr;  // [count], in device memory
};

struct SegmentSumArgs {
  SegmentSum sum;       // of at least one segment
  float* out;           // [values]
  std::int64_t values;  // a multiple of 4
};

constexpr Grid segment_sum_grid(const SegmentSumArgs& args) {
  constexpr int kThreads = 256;
  return {.x = divide_up(args.values, 4 * kThreads), .threads = kThreads};
}

// out = the sum. Throws Error if CUDA refuses the launch; so does every launcher.
void launch_segment_sum(const SegmentSumArgs& args, StreamHandle stream);

}  // namespace lockstep::kernels::cuda

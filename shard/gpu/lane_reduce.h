// The all-reduce of segments between GPUs (kernels/lanes.h): gathered, then added in the order of
// the tree. The same bits as shard/lane_reduce.h's at any number of ranks, for the same segments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "comm/gpu_exchange.h"
#include "kernels/cuda/gpu.h"
#include "shard/gpu/array.h"
#include "shard/lane_tree.h"

namespace lockstep::shard {

// How the segments of all ranks become one sum.
struct SegmentTree {
  std::vector<std::int32_t> counts;  // of every rank's segments, at least one
  std::vector<std::int32_t> merges;  // LaneTree::finish()
};

// `runs`: the lanes of every rank.
SegmentTree segment_tree(const LaneTree& tree, std::span<const Range> runs);
// One segment a rank, added one after the other.
SegmentTree one_segment_each(int ranks);

struct ReduceOptions {
  std::int64_t max_values = 0;  // of a segment
  // Of all segments together, in bytes. Up to here every rank gathers all of them and sums all;
  // beyond, each sums a slice, and the slices' sums are gathered.
  std::int64_t gather_below = 4 << 20;
};

// Several trees that share buffers: what one reduce() returns holds until the next segments().
class GpuLaneReducer {
 public:
  // Both must outlive it.
  GpuLaneReducer(kernels::cuda::Gpu& gpu, comm::GpuExchange& exchange,
                 std::vector<SegmentTree> trees, const ReduceOptions& options);

  // Where this rank's segments for `tree` of `values` floats each (a multiple of 4) are to be
  // written, one after the other, before reduce(tree, values).
  float* segments(std::size_t tree, std::int64_t values) const;

  // Puts the exchange in line. What is to be added, by whoever reads the sum. `what` names the call
  // in errors, e.g. "layer 12 mlp".
  kernels::cuda::SegmentSum reduce(std::size_t tree, std::int64_t values, std::string_view what);

  // Whether a reduce() of so many values is cut in slices.
  bool is_sliced(std::size_t tree, std::int64_t values) const;

 private:
  struct Tree {
    std::vector<std::int32_t> counts;
    std::int64_t own;    // segments of this rank
    std::int64_t first;  // of them, among all
    std::int64_t all;
    GpuArray<std::int32_t> merges;
  };
  kernels::cuda::SegmentSum gather(const Tree& tree, std::int64_t values, std::string_view what);
  kernels::cuda::SegmentSum exchange_slices(const Tree& tree, std::int64_t values,
                                            std::string_view what);

  kernels::cuda::Gpu& gpu_;
  comm::GpuExchange& exchange_;
  const ReduceOptions options_;
  std::vector<Tree> trees_;
  GpuArray<std::int32_t> no_merges_;  // of a sum that is done
  GpuArray<float> gathered_;          // all segments; of slices
  GpuArray<float> own_;               // segments of this rank, before they are cut in slices
  GpuArray<float> cut_;               // the same, slice by slice
  GpuArray<float> sum_;
};

}  // namespace lockstep::shard

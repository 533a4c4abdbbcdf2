// The all-reduce of segments between GPUs (kernels/lanes.h): gathered, then added in the order of
// the tree; of few rows by the kernels themselves, in each other's memory
// (kernels/cuda/peer_norm.h). The same bits as shard/lane_reduce.h's at any number of ranks, for
// the same segments.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "comm/gpu_exchange.h"
#include "kernels/cuda/gpu.h"
#include "shard/gpu/array.h"
#include "shard/gpu/peer_channels.h"
#include "shard/lane_tree.h"

namespace lockstep::shard {

// How the segments of all ranks become one sum.
struct SegmentTree {
  std::vector<std::int32_t> counts;  // of every rank's segments, at least one
  std::vector<std::int32_t> merges;  // LaneTree::finish()
};

// `runs`: the lanes of every rank, in one run or in several whose sums stay apart.
SegmentTree segment_tree(const LaneTree& tree, std::span<const std::vector<Range>> runs);
// One segment a rank, added one after the other.
SegmentTree one_segment_each(int ranks);

struct ReduceOptions {
  std::int64_t max_rows = 0;  // of a segment
  std::int64_t columns = 0;   // of a segment; a multiple of 4
  // Of all segments together, in bytes. Up to here every rank gets all of them and sums all;
  // beyond, each sums a slice, and the slices' sums are gathered.
  std::int64_t gather_below = 4 << 20;
};

// What is to be added to the residual stream.
struct LaneSum {
  kernels::cuda::SegmentSum gathered;           // nothing, where there are `peers`
  std::optional<kernels::cuda::PeerSum> peers;  // for the kernel that exchanges by itself
};

// Several trees that share buffers: what one reduce() returns holds until the next segments().
class GpuLaneReducer {
 public:
  // Both must outlive it.
  GpuLaneReducer(kernels::cuda::Gpu& gpu, comm::GpuExchange& exchange,
                 const std::vector<SegmentTree>& trees, const ReduceOptions& options);

  // Where this rank's segments for `tree` of `rows` rows each are to be written, one after the
  // other, before reduce(tree, rows).
  float* segments(std::size_t tree, std::int64_t rows) const;

  // Puts the exchange in line, unless it is left to whoever adds the sum. What is to be added, by
  // one kernel, on all ranks or on none. `what` names the call in errors, e.g. "layer 12 mlp".
  LaneSum reduce(std::size_t tree, std::int64_t rows, std::string_view what);

  // Whether a reduce() of so many rows is cut in slices, and whether it is left to kernels.
  bool is_sliced(std::size_t tree, std::int64_t rows) const;
  bool is_left_to_kernels(std::int64_t rows) const { return rows <= peers_.rows(); }

  // Throws CollectiveTimeout when a kernel has waited too long for another rank.
  void check() const { peers_.check(); }

  // What rank `rank` takes of the device's memory.
  static std::size_t device_bytes(const std::vector<SegmentTree>& trees, int rank,
                                  const ReduceOptions& options,
                                  const comm::ExchangeMemory& exchange);

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
  // The floats of the buffers below, and the channels.
  struct Sizes {
    std::int64_t gathered = 0, own = 0, cut = 0, sum = 0;
    kernels::cuda::PeerLayout channels;
  };
  static Sizes sizes(const std::vector<SegmentTree>& trees, int rank, const ReduceOptions& options);

  kernels::cuda::Gpu& gpu_;
  comm::GpuExchange& exchange_;
  const ReduceOptions options_;
  std::vector<Tree> trees_;
  GpuArray<std::int32_t> no_merges_;  // of a sum that is done
  GpuArray<float> gathered_;          // all segments; of slices
  GpuArray<float> own_;               // segments of this rank, before they are cut in slices
  GpuArray<float> cut_;               // the same, slice by slice
  GpuArray<float> sum_;
  PeerChannels peers_;
};

}  // namespace lockstep::shard

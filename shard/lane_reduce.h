// The all-reduce of a row-parallel product, in the model's own order.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "comm/communicator.h"
#include "kernels/aligned_buffer.h"
#include "kernels/cpu/kernel_table.h"
#include "shard/lane_tree.h"

namespace lockstep::shard {

// Finishes the lane tree over all ranks: the same bits on every rank, at every world size. Small
// sums are gathered whole and finished by everyone; large ones are cut in one slice a rank, each
// finished by one rank and gathered again. Both do the same additions in the same order.
class LaneReducer {
 public:
  // `runs[r]` are the lanes of rank r. `max_values` bounds the values of one segment.
  LaneReducer(const LaneTree& tree, std::span<const Range> runs, comm::Communicator& communicator,
              const kernels::cpu::KernelTable& kernels, std::int64_t max_values);

  // This rank's segments: write them here before reduce(), one after the other, `values` apart.
  float* segments() { return segments_.as<float>(); }

  // Sums the segments of all ranks, `values` floats each (a multiple of 16). The sum stays valid
  // until the next call. `what` names the call in errors.
  const float* reduce(std::int64_t values, std::string_view what);

 private:
  const float* reduce_whole(std::int64_t values, std::string_view what);
  const float* reduce_sliced(std::int64_t values, std::string_view what);
  // Adds up `gathered`, all ranks' segments of `values` floats, in place; the sum is its start.
  void finish(float* gathered, std::int64_t values) const;

  comm::Communicator* communicator_;
  const kernels::cpu::KernelTable* kernels_;
  std::vector<std::int32_t> segment_counts_;  // per rank
  std::vector<std::int32_t> merges_;          // LaneTree::finish
  kernels::AlignedBuffer segments_;
  kernels::AlignedBuffer gathered_;
  kernels::AlignedBuffer sliced_;
};

}  // namespace lockstep::shard

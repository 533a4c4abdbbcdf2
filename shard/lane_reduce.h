// The all-reduce of a row-parallel product, in the model's own order.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "comm/communicator.h"
#include "kernels/aligned_buffer.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/thread_pool.h"
#include "shard/lane_tree.h"

namespace lockstep::shard {

class LaneReducer;

// What LaneReducer::reduce() leaves: the sum, or segments so small that whoever reads a piece of
// the sum adds them up in the same pass, with nothing to wait for in between. Valid until the next
// reduce().
class ReducedSum {
 public:
  // Values [begin, begin + count) of the sum: where they lie, or added up in `scratch`. REQUIRES:
  // multiples of 16.
  const float* piece(std::int64_t begin, std::int64_t count, float* scratch) const;

 private:
  friend class LaneReducer;
  explicit ReducedSum(const float* whole) : whole_(whole) {}
  ReducedSum(const LaneReducer& reducer, const float* segments, std::int64_t stride)
      : reducer_(&reducer), segments_(segments), stride_(stride) {}

  const float* whole_ = nullptr;
  const LaneReducer* reducer_ = nullptr;
  const float* segments_ = nullptr;
  std::int64_t stride_ = 0;
};

// Memory of one rank's LaneReducer.
struct ReducerMemory {
  std::size_t own = 0;
  std::size_t shared = 0;  // of all ranks together
};

// Finishes the lane tree over all ranks: the same bits on every rank, at every world size. Small
// sums are finished by everyone; large ones are cut in one slice a rank, each finished by one rank.
// Both do the same additions in the same order. Ranks that share memory write their segments where
// the others read them, and copy nothing; the others gather them.
class LaneReducer {
 public:
  // `runs[r]` are the lanes of rank r. `max_values` bounds the values of one segment.
  LaneReducer(const LaneTree& tree, std::span<const Range> runs, comm::Communicator& communicator,
              kernels::ThreadPool& pool, const kernels::cpu::KernelTable& kernels,
              std::int64_t max_values);

  // What the reducer of rank `rank` takes where sums are shared, and where they are copied; and
  // what this one has.
  static ReducerMemory memory(const LaneTree& tree, std::span<const Range> runs, int rank,
                              std::int64_t max_values, bool in_place);
  ReducerMemory memory() const;

  // Where this rank's segments of `values` floats each (a multiple of 16) are to be written, one
  // after the other, before reduce(values).
  float* segments(std::int64_t values);

  // Sums the segments of all ranks. `what` names the call in errors.
  ReducedSum reduce(std::int64_t values, std::string_view what);

  // Whether segments are summed where they lie.
  bool in_place() const { return !shared_.empty(); }

 private:
  friend class ReducedSum;

  std::int64_t all_segments() const { return static_cast<std::int64_t>(merges_.size()); }
  std::int64_t own_segments() const;
  // Whether everyone sums all of it.
  bool is_small(std::int64_t values) const;
  // All ranks' segments of the reduce() that comes next, in lane order. REQUIRES: in_place().
  float* shared_segments(std::int64_t values) const;
  float* shared_sum() const;

  ReducedSum reduce_in_place(std::int64_t values, std::string_view what);
  const float* reduce_whole(std::int64_t values, std::string_view what);
  const float* reduce_sliced(std::int64_t values, std::string_view what);
  // out[part] = the sum of `segments`, which are `stride` apart and begin at part.begin.
  void finish(const float* segments, std::int64_t stride, Range part, float* out) const;
  // The same by the calling thread alone: out[0, count) = their sum from `first` on.
  void add_up(const float* segments, std::int64_t stride, std::int64_t first, std::int64_t count,
              float* out) const;

  comm::Communicator* communicator_;
  kernels::ThreadPool* pool_;
  const kernels::cpu::KernelTable* kernels_;
  const std::int64_t max_values_;
  std::vector<std::int32_t> segment_counts_;  // per rank
  std::int64_t first_segment_ = 0;            // this rank's, of all
  std::vector<std::int32_t> merges_;          // LaneTree::finish

  // Of ranks that share memory: two areas for small segments, that take turns, so that a rank may
  // write the next ones while another still reads; one for large ones; the sum of large ones.
  std::span<float> shared_;
  bool second_area_ = false;

  kernels::AlignedBuffer own_;  // segments of this rank
  kernels::AlignedBuffer gathered_;
  kernels::AlignedBuffer sliced_;
};

}  // namespace lockstep::shard

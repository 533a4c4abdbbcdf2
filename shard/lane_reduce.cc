#include "shard/lane_reduce.h"

#include <algorithm>
#include <cstring>
#include <numeric>

namespace lockstep::shard {
namespace {

// From here on a rank's segments, in bytes, are cut in slices: each rank then receives its share of
// every segment and one finished sum instead of all segments.
constexpr std::int64_t kSliceBytes = 128 << 10;
constexpr std::int64_t kLine = 16;  // floats; slices begin at whole cache lines

std::span<const std::byte> bytes(const float* data, std::int64_t count) {
  return std::as_bytes(std::span(data, static_cast<std::size_t>(count)));
}
std::span<std::byte> writable_bytes(float* data, std::int64_t count) {
  return std::as_writable_bytes(std::span(data, static_cast<std::size_t>(count)));
}

Range slice(std::int64_t values, std::int64_t rank, std::int64_t ranks) {
  const std::int64_t lines = values / kLine;
  return {static_cast<std::int32_t>(lines * rank / ranks * kLine),
          static_cast<std::int32_t>(lines * (rank + 1) / ranks * kLine)};
}

}  // namespace

LaneReducer::LaneReducer(const LaneTree& tree, std::span<const Range> runs,
                         comm::Communicator& communicator, const kernels::cpu::KernelTable& kernels,
                         std::int64_t max_values)
    : communicator_(&communicator), kernels_(&kernels), merges_(tree.finish(runs)) {
  for (const Range& run : runs) segment_counts_.push_back(tree.segments(run));
  const auto row = static_cast<std::size_t>(max_values) * sizeof(float);
  const auto mine =
      static_cast<std::size_t>(segment_counts_[static_cast<std::size_t>(communicator.rank())]);
  segments_ = kernels::AlignedBuffer(mine * row);
  if (communicator.size() > 1) {
    gathered_ = kernels::AlignedBuffer(merges_.size() * row);
    sliced_ = kernels::AlignedBuffer(std::max<std::size_t>(mine, 1) * row);
  }
}

const float* LaneReducer::reduce(std::int64_t values, std::string_view what) {
  if (communicator_->size() == 1) return segments();
  const auto all = static_cast<std::int64_t>(merges_.size());
  return all * values * std::int64_t{sizeof(float)} < kSliceBytes * communicator_->size()
             ? reduce_whole(values, what)
             : reduce_sliced(values, what);
}

const float* LaneReducer::reduce_whole(std::int64_t values, std::string_view what) {
  std::vector<std::size_t> counts;
  for (const std::int32_t segments : segment_counts_) {
    counts.push_back(static_cast<std::size_t>(segments * values) * sizeof(float));
  }
  auto* all = gathered_.as<float>();
  const auto mine = segment_counts_[static_cast<std::size_t>(communicator_->rank())];
  communicator_->all_gather(bytes(segments(), mine * values),
                            writable_bytes(all, static_cast<std::int64_t>(merges_.size()) * values),
                            counts, what);
  finish(all, values);
  return all;
}

const float* LaneReducer::reduce_sliced(std::int64_t values, std::string_view what) {
  const int ranks = communicator_->size();
  const int rank = communicator_->rank();
  const std::int64_t mine = segment_counts_[static_cast<std::size_t>(rank)];
  const Range own = slice(values, rank, ranks);
  std::vector<std::size_t> send_counts, receive_counts, gather_counts;
  float* to = sliced_.as<float>();
  for (int r = 0; r < ranks; ++r) {
    const Range part = slice(values, r, ranks);
    for (std::int64_t s = 0; s < mine; ++s, to += part.size()) {
      std::copy_n(segments() + s * values + part.begin, part.size(), to);
    }
    const auto part_bytes = static_cast<std::size_t>(part.size()) * sizeof(float);
    send_counts.push_back(static_cast<std::size_t>(mine) * part_bytes);
    gather_counts.push_back(part_bytes);
    receive_counts.push_back(
        static_cast<std::size_t>(segment_counts_[static_cast<std::size_t>(r)]) *
        static_cast<std::size_t>(own.size()) * sizeof(float));
  }
  auto* received = gathered_.as<float>();
  communicator_->all_to_all(
      bytes(sliced_.as<float>(), mine * values), send_counts,
      writable_bytes(received, static_cast<std::int64_t>(merges_.size()) * own.size()),
      receive_counts, what);
  finish(received, own.size());
  float* sum = sliced_.as<float>();
  communicator_->all_gather(bytes(received, own.size()), writable_bytes(sum, values), gather_counts,
                            what);
  return sum;
}

void LaneReducer::finish(float* gathered, std::int64_t values) const {
  std::vector<float*> stack;
  for (std::size_t segment = 0; segment < merges_.size(); ++segment) {
    stack.push_back(gathered + static_cast<std::int64_t>(segment) * values);
    for (std::int32_t merge = 0; merge < merges_[segment]; ++merge) {
      const float* top = stack.back();
      stack.pop_back();
      kernels_->add(stack.back(), top, values, stack.back());
    }
  }
}

}  // namespace lockstep::shard

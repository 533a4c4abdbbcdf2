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
// Values that stay in the first-level cache while the tree is climbed.
constexpr std::int64_t kPiece = 256;
// Fewer pieces are summed by the calling thread alone.
constexpr std::ptrdiff_t kPiecesForAll = 32;

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

std::size_t float_bytes(std::int64_t count) {
  return static_cast<std::size_t>(count) * sizeof(float);
}

// Two areas for small segments, one for large ones, and the sum of large ones.
std::int64_t shared_floats(std::int64_t ranks, std::int64_t segments, std::int64_t max_values) {
  const std::int64_t small = 2 * kSliceBytes * ranks / std::int64_t{sizeof(float)};
  return small + (segments + 1) * max_values;
}

}  // namespace

LaneReducer::LaneReducer(const LaneTree& tree, std::span<const Range> runs,
                         comm::Communicator& communicator, kernels::ThreadPool& pool,
                         const kernels::cpu::KernelTable& kernels, std::int64_t max_values)
    : communicator_(&communicator),
      pool_(&pool),
      kernels_(&kernels),
      max_values_(max_values),
      merges_(tree.finish(runs)) {
  for (const Range& run : runs) segment_counts_.push_back(tree.segments(run));
  first_segment_ = std::accumulate(segment_counts_.begin(),
                                   segment_counts_.begin() + communicator.rank(), std::int64_t{0});
  const auto memory = communicator.shared_memory(
      float_bytes(shared_floats(communicator.size(), all_segments(), max_values)),
      "memory for sums");
  shared_ = {reinterpret_cast<float*>(memory.data()), memory.size() / sizeof(float)};
  if (in_place()) return;
  own_ = kernels::AlignedBuffer(float_bytes(own_segments() * max_values));
  if (communicator.size() == 1) return;
  gathered_ = kernels::AlignedBuffer(float_bytes(all_segments() * max_values));
  sliced_ =
      kernels::AlignedBuffer(float_bytes(std::max<std::int64_t>(own_segments(), 1) * max_values));
}

ReducerMemory LaneReducer::memory(const LaneTree& tree, std::span<const Range> runs, int rank,
                                  std::int64_t max_values, bool in_place) {
  const auto ranks = std::ssize(runs);
  const std::int64_t own = tree.segments(runs[static_cast<std::size_t>(rank)]);
  if (ranks == 1) return {.own = float_bytes(own * max_values)};
  std::int64_t all = 0;
  for (const Range& run : runs) all += tree.segments(run);
  if (in_place) return {.shared = float_bytes(shared_floats(ranks, all, max_values))};
  return {.own = float_bytes((own + all + std::max<std::int64_t>(own, 1)) * max_values)};
}

ReducerMemory LaneReducer::memory() const {
  return {.own = own_.size() + gathered_.size() + sliced_.size(),
          .shared = shared_.size() * sizeof(float)};
}

std::int64_t LaneReducer::own_segments() const {
  return segment_counts_[static_cast<std::size_t>(communicator_->rank())];
}

bool LaneReducer::is_small(std::int64_t values) const {
  return all_segments() * values * std::int64_t{sizeof(float)} <
         kSliceBytes * communicator_->size();
}

float* LaneReducer::shared_segments(std::int64_t values) const {
  const std::int64_t area = kSliceBytes * communicator_->size() / std::int64_t{sizeof(float)};
  if (!is_small(values)) return shared_.data() + 2 * area;
  return shared_.data() + (second_area_ ? area : 0);
}

float* LaneReducer::shared_sum() const { return shared_.data() + shared_.size() - max_values_; }

float* LaneReducer::segments(std::int64_t values) {
  return in_place() ? shared_segments(values) + first_segment_ * values : own_.as<float>();
}

ReducedSum LaneReducer::reduce(std::int64_t values, std::string_view what) {
  if (communicator_->size() == 1) return ReducedSum(own_.as<float>());
  if (in_place()) return reduce_in_place(values, what);
  return ReducedSum(is_small(values) ? reduce_whole(values, what) : reduce_sliced(values, what));
}

ReducedSum LaneReducer::reduce_in_place(std::int64_t values, std::string_view what) {
  const float* all = shared_segments(values);
  communicator_->barrier(what);  // all have written
  if (is_small(values)) {
    second_area_ = !second_area_;
    return {*this, all, values};
  }
  finish(all, values, slice(values, communicator_->rank(), communicator_->size()), shared_sum());
  communicator_->barrier(what);  // all have summed, and read what they needed
  return ReducedSum(shared_sum());
}

const float* ReducedSum::piece(std::int64_t begin, std::int64_t count, float* scratch) const {
  if (whole_ != nullptr) return whole_ + begin;
  reducer_->add_up(segments_, stride_, begin, count, scratch);
  return scratch;
}

const float* LaneReducer::reduce_whole(std::int64_t values, std::string_view what) {
  std::vector<std::size_t> counts;
  for (const std::int32_t segments : segment_counts_)
    counts.push_back(float_bytes(segments * values));
  auto* all = gathered_.as<float>();
  communicator_->all_gather(bytes(own_.as<float>(), own_segments() * values),
                            writable_bytes(all, all_segments() * values), counts, what);
  finish(all, values, {0, static_cast<std::int32_t>(values)}, sliced_.as<float>());
  return sliced_.as<float>();
}

const float* LaneReducer::reduce_sliced(std::int64_t values, std::string_view what) {
  const int ranks = communicator_->size();
  const Range own = slice(values, communicator_->rank(), ranks);
  std::vector<std::size_t> send_counts, receive_counts, gather_counts;
  float* to = sliced_.as<float>();
  for (int r = 0; r < ranks; ++r) {
    const Range part = slice(values, r, ranks);
    for (std::int64_t s = 0; s < own_segments(); ++s, to += part.size()) {
      std::copy_n(own_.as<float>() + s * values + part.begin, part.size(), to);
    }
    send_counts.push_back(float_bytes(own_segments() * part.size()));
    gather_counts.push_back(float_bytes(part.size()));
    receive_counts.push_back(
        float_bytes(segment_counts_[static_cast<std::size_t>(r)] * std::int64_t{own.size()}));
  }
  auto* received = gathered_.as<float>();
  communicator_->all_to_all(bytes(sliced_.as<float>(), own_segments() * values), send_counts,
                            writable_bytes(received, all_segments() * own.size()), receive_counts,
                            what);
  float* sum = sliced_.as<float>();
  finish(received, own.size(), {0, own.size()}, sum + own.begin);
  communicator_->all_gather(bytes(sum + own.begin, own.size()), writable_bytes(sum, values),
                            gather_counts, what);
  return sum;
}

void LaneReducer::finish(const float* segments, std::int64_t stride, Range part, float* out) const {
  const std::int64_t pieces = (part.size() + kPiece - 1) / kPiece;
  pool_->for_ranges(
      pieces,
      [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
        const std::int64_t first = part.begin + begin * kPiece;
        const std::int64_t last = std::min<std::int64_t>(part.begin + end * kPiece, part.end);
        add_up(segments, stride, first, last - first, out + first);
      },
      kPiecesForAll);
}

void LaneReducer::add_up(const float* segments, std::int64_t stride, std::int64_t first,
                         std::int64_t count, float* out) const {
  alignas(64) float partial[kernels::kMaxSegments][kPiece];
  const float* stack[kernels::kMaxSegments];
  for (std::int64_t done = 0; done < count; done += kPiece) {
    const std::int64_t width = std::min(kPiece, count - done);
    int top = 0;
    for (std::int64_t segment = 0; segment < all_segments(); ++segment) {
      stack[top++] = segments + segment * stride + first + done;
      for (std::int32_t left = merges_[static_cast<std::size_t>(segment)]; left > 0;
           --left, --top) {
        kernels_->add(stack[top - 2], stack[top - 1], width, partial[top - 2]);
        stack[top - 2] = partial[top - 2];
      }
    }
    std::copy_n(stack[0], width, out + done);
  }
}

}  // namespace lockstep::shard

#include "shard/gpu/lane_reduce.h"

#include <algorithm>
#include <numeric>

namespace lockstep::shard {
namespace {

using kernels::cuda::PeerLayout;
using kernels::cuda::SegmentSum;

constexpr char kLabel[] = "sums between ranks";
constexpr std::int64_t kLine = 32;  // floats; slices begin at multiples of it
constexpr std::int64_t kFloat = sizeof(float);

// Rank `rank`'s slice of `values`.
struct Slice {
  std::int64_t begin;
  std::int64_t size;
};
Slice slice(std::int64_t values, std::int64_t rank, std::int64_t ranks) {
  const std::int64_t lines = (values + kLine - 1) / kLine;
  const auto end_of = [&](std::int64_t r) { return std::min(lines * r / ranks * kLine, values); };
  return {end_of(rank), end_of(rank + 1) - end_of(rank)};
}

std::size_t bytes(std::int64_t floats) { return static_cast<std::size_t>(floats * kFloat); }

}  // namespace

SegmentTree segment_tree(const LaneTree& tree, std::span<const std::vector<Range>> runs) {
  SegmentTree result;
  std::vector<Range> all;
  for (const std::vector<Range>& of_rank : runs) {
    std::int32_t& count = result.counts.emplace_back(0);
    for (const Range& run : of_rank) count += tree.segments(run);
    all.insert(all.end(), of_rank.begin(), of_rank.end());
  }
  result.merges = tree.finish(all);
  return result;
}

SegmentTree one_segment_each(int ranks) {
  SegmentTree result;
  for (int rank = 0; rank < ranks; ++rank) {
    result.counts.push_back(1);
    result.merges.push_back(rank == 0 ? 0 : 1);
  }
  return result;
}

GpuLaneReducer::Sizes GpuLaneReducer::sizes(const std::vector<SegmentTree>& trees, int rank,
                                            const ReduceOptions& options) {
  std::int64_t most_own = 0, most_all = 0;
  for (const SegmentTree& tree : trees) {
    most_own = std::max<std::int64_t>(most_own, tree.counts[static_cast<std::size_t>(rank)]);
    most_all = std::max(most_all,
                        std::accumulate(tree.counts.begin(), tree.counts.end(), std::int64_t{0}));
  }
  const auto ranks = std::ssize(trees[0].counts);
  const std::int64_t values = options.max_rows * options.columns;
  Sizes sizes;
  sizes.gathered = most_all * values;
  const std::int64_t row_floats = most_all * options.columns;
  if (ranks > 1 && ranks <= kernels::cuda::kMaxPeers) {
    const auto rows = std::min({options.max_rows, std::int64_t{kernels::cuda::kMaxPeerRows},
                                options.gather_below / (row_floats * kFloat)});
    sizes.channels = {.rows = static_cast<std::int32_t>(rows), .row_floats = row_floats};
  }
  if (ranks == 1 || most_all * values * kFloat <= options.gather_below) return sizes;
  sizes.gathered = std::max(options.gather_below / kFloat, most_all * (values / ranks + 2 * kLine));
  sizes.own = sizes.cut = most_own * values;
  sizes.sum = values;
  return sizes;
}

std::size_t GpuLaneReducer::device_bytes(const std::vector<SegmentTree>& trees, int rank,
                                         const ReduceOptions& options,
                                         const comm::ExchangeMemory& exchange) {
  const Sizes floats = sizes(trees, rank, options);
  std::int64_t merges = 1;
  for (const SegmentTree& tree : trees) merges += std::ssize(tree.merges);
  const auto ranks = static_cast<int>(trees[0].counts.size());
  return exchange.gather_bytes(bytes(floats.gathered), ranks) +
         exchange.gather_bytes(bytes(floats.sum), ranks) + bytes(floats.own + floats.cut) +
         static_cast<std::size_t>(merges) * sizeof(std::int32_t) +
         (exchange.peers ? PeerChannels::device_bytes(floats.channels) : 0);
}

GpuLaneReducer::GpuLaneReducer(kernels::cuda::Gpu& gpu, comm::GpuExchange& exchange,
                               const std::vector<SegmentTree>& trees, const ReduceOptions& options)
    : gpu_(gpu), exchange_(exchange), options_(options) {
  for (const SegmentTree& tree : trees) {
    const auto mine = tree.counts.begin() + exchange.rank();
    trees_.push_back({.counts = tree.counts,
                      .own = *mine,
                      .first = std::accumulate(tree.counts.begin(), mine, std::int64_t{0}),
                      .all = std::ssize(tree.merges),
                      .merges = upload_array<std::int32_t>(gpu, kLabel, tree.merges)});
  }
  no_merges_ = upload_array<std::int32_t>(gpu, kLabel, std::vector<std::int32_t>{0});
  const Sizes floats = sizes(trees, exchange.rank(), options);
  gathered_ = GpuArray<float>(exchange.gather_memory(kLabel, bytes(floats.gathered)));
  own_ = GpuArray<float>(gpu, kLabel, floats.own);
  cut_ = GpuArray<float>(gpu, kLabel, floats.cut);
  sum_ = GpuArray<float>(exchange.gather_memory(kLabel, bytes(floats.sum)));
  peers_ = PeerChannels(gpu, exchange, floats.channels);
}

bool GpuLaneReducer::is_sliced(std::size_t tree, std::int64_t rows) const {
  return exchange_.size() > 1 &&
         trees_[tree].all * rows * options_.columns * kFloat > options_.gather_below;
}

float* GpuLaneReducer::segments(std::size_t tree, std::int64_t rows) const {
  if (is_sliced(tree, rows)) return own_.data();
  return gathered_.data() + trees_[tree].first * rows * options_.columns;
}

LaneSum GpuLaneReducer::reduce(std::size_t tree, std::int64_t rows, std::string_view what) {
  const Tree& added = trees_[tree];
  const std::int64_t values = rows * options_.columns;
  if (is_left_to_kernels(rows)) {
    return {{},
            peers_.sum({.segments = segments(tree, rows),
                        .stride = values,
                        .first = static_cast<std::int32_t>(added.first),
                        .own = static_cast<std::int32_t>(added.own),
                        .all = static_cast<std::int32_t>(added.all),
                        .merges = added.merges.data()},
                       what)};
  }
  return {
      is_sliced(tree, rows) ? exchange_slices(added, values, what) : gather(added, values, what),
      std::nullopt};
}

SegmentSum GpuLaneReducer::gather(const Tree& tree, std::int64_t values, std::string_view what) {
  if (exchange_.size() > 1) {
    std::vector<std::size_t> counts;
    for (const std::int32_t segments : tree.counts) counts.push_back(bytes(segments * values));
    exchange_.all_gather(gathered_.data() + tree.first * values, gathered_.data(), counts, what);
  }
  return {gathered_.data(), values, static_cast<std::int32_t>(tree.all), tree.merges.data()};
}

SegmentSum GpuLaneReducer::exchange_slices(const Tree& tree, std::int64_t values,
                                           std::string_view what) {
  const int ranks = exchange_.size();
  const Slice own = slice(values, exchange_.rank(), ranks);
  std::vector<std::size_t> send_counts, receive_counts, gather_counts;
  float* to = cut_.data();
  for (int rank = 0; rank < ranks; ++rank) {
    const Slice part = slice(values, rank, ranks);
    for (std::int64_t s = 0; s < tree.own && part.size > 0; ++s, to += part.size) {
      gpu_.copy(to, own_.data() + s * values + part.begin, bytes(part.size), "segments in slices");
    }
    send_counts.push_back(bytes(tree.own * part.size));
    gather_counts.push_back(bytes(part.size));
    receive_counts.push_back(bytes(tree.counts[static_cast<std::size_t>(rank)] * own.size));
  }
  exchange_.all_to_all(cut_.data(), send_counts, gathered_.data(), receive_counts, what);
  float* sum = sum_.data() + own.begin;
  if (own.size > 0) {
    gpu_.run(kernels::cuda::SegmentSumArgs{
        {gathered_.data(), own.size, static_cast<std::int32_t>(tree.all), tree.merges.data()},
        sum,
        own.size});
  }
  exchange_.all_gather(sum, sum_.data(), gather_counts, what);
  return {sum_.data(), values, 1, no_merges_.data()};
}

}  // namespace lockstep::shard

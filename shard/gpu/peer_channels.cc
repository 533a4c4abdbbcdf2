#include "shard/gpu/peer_channels.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstring>

#include "comm/communicator.h"

namespace lockstep::shard {

using namespace kernels::cuda;

std::size_t PeerChannels::device_bytes(const PeerLayout& layout) {
  return layout.rows == 0 ? 0 : comm::whole_peer_memory(static_cast<std::size_t>(layout.bytes()));
}

PeerChannels::PeerChannels(Gpu& gpu, comm::GpuExchange& exchange, const PeerLayout& layout) {
  if (layout.rows == 0) return;
  memory_ = exchange.peer_memory(static_cast<std::size_t>(layout.bytes()));
  if (memory_.of_ranks.empty()) return;
  layout_ = layout;
  rank_ = exchange.rank();
  failures_ = gpu.mapped_memory().allocate(
      "sums between ranks", static_cast<std::size_t>(layout.rows) * sizeof(std::uint64_t));
  std::memset(failures_.data(), 0, failures_.size());
}

std::int32_t PeerChannels::number_of(std::string_view what) {
  const auto found = numbers_.find(what);
  if (found != numbers_.end()) return found->second;
  const auto number = static_cast<std::int32_t>(numbers_.size());
  numbers_.emplace(what, number);
  return number;
}

const std::string& PeerChannels::name_of(std::int32_t number) const {
  return std::ranges::find(numbers_, number, [](const auto& entry) { return entry.second; })->first;
}

PeerSum PeerChannels::sum(const Segments& segments, std::string_view what) {
  PeerSum sum{.memory = {},
              .layout = layout_,
              .segments = segments.segments,
              .stride = segments.stride,
              .first = segments.first,
              .own = segments.own,
              .all = segments.all,
              .merges = segments.merges,
              .rank = rank_,
              .ranks = static_cast<std::int32_t>(memory_.of_ranks.size()),
              .what = number_of(what),
              .patience = static_cast<std::uint64_t>(memory_.patience.count()),
              .failures = failures()};
  std::ranges::copy(memory_.of_ranks, sum.memory);
  return sum;
}

void PeerChannels::check() const {
  for (std::int32_t channel = 0; channel < layout_.rows; ++channel) {
    const std::uint64_t word = std::atomic_ref(failures()[channel]).load(std::memory_order_acquire);
    if (word == 0) continue;
    const PeerFailure failure = to_failure(word);
    const int missing = memory_.first_rank + failure.missing;
    throw comm::CollectiveTimeout(
        "rank " + std::to_string(memory_.first_rank + rank_) + ": rank " + std::to_string(missing) +
            " did not come to '" + name_of(failure.what) + "' within " +
            std::to_string(
                std::chrono::duration_cast<std::chrono::milliseconds>(memory_.patience).count()) +
            " ms, as this rank's GPU saw it",
        {missing});
  }
}

}  // namespace lockstep::shard

// Collectives between executors in the place of GPUs.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <cstring>
#include <functional>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "comm/communicator.h"
#include "comm/gpu_exchange.h"
#include "tests/kernels/cuda/executed_gpu.h"

namespace lockstep::shard {

// Collectives on the memory of executors. `peers`: kernels may write to the other ranks' memory,
// and wait for them as long as that says.
class ExecutedExchange final : public comm::GpuExchange {
 public:
  using Patience = std::chrono::nanoseconds;
  ExecutedExchange(kernels::cuda::ExecutedGpu& gpu, comm::Communicator& communicator,
                   std::optional<Patience> peers = std::nullopt, int first_rank = 0)
      : gpu_(gpu), communicator_(communicator), peers_(peers), first_rank_(first_rank) {}

  int rank() const override { return communicator_.rank(); }
  int size() const override { return communicator_.size(); }
  std::string_view name() const override { return "threads"; }

  void all_gather(const void* mine, void* all, std::span<const std::size_t> counts,
                  std::string_view what) override {
    const std::size_t bytes = sum({counts.begin(), counts.end()});
    if (!is_gather_memory(mine, counts[static_cast<std::size_t>(rank())]) ||
        !is_gather_memory(all, bytes)) {
      gathered_elsewhere.emplace(what);
    }
    gpu_.put([this, mine, all, counts = std::vector(counts.begin(), counts.end()),
              what = std::string(what)] {
      const auto* first = static_cast<const std::byte*>(mine);
      const std::vector<std::byte> own(first, first + counts[static_cast<std::size_t>(rank())]);
      communicator_.all_gather(own, {static_cast<std::byte*>(all), sum(counts)}, counts, what);
      ++exchanges;
    });
  }
  void all_to_all(const void* send, std::span<const std::size_t> send_counts, void* received,
                  std::span<const std::size_t> receive_counts, std::string_view what) override {
    gpu_.put([this, send, received, sent = std::vector(send_counts.begin(), send_counts.end()),
              got = std::vector(receive_counts.begin(), receive_counts.end()),
              what = std::string(what)] {
      communicator_.all_to_all({static_cast<const std::byte*>(send), sum(sent)}, sent,
                               {static_cast<std::byte*>(received), sum(got)}, got, what);
      ++exchanges;
    });
  }
  kernels::device::Allocation gather_memory(const std::string& label, std::size_t bytes) override {
    auto memory = gpu_.memory().allocate(
        label, comm::ExchangeMemory{.windows = windows}.gather_bytes(bytes, size()));
    const auto* first = static_cast<const std::byte*>(memory.data());
    gather_memory_.emplace_back(first, first + memory.size());
    return memory;
  }
  comm::PeerMemory peer_memory(std::size_t bytes) override {
    if (!peers_) return {};
    own_ = gpu_.memory().allocate("sums between ranks", comm::whole_peer_memory(bytes));
    std::memset(own_.data(), 0, own_.size());
    comm::PeerMemory memory{.of_ranks = std::vector<std::byte*>(static_cast<std::size_t>(size())),
                            .patience = *peers_,
                            .first_rank = first_rank_};
    auto* const mine = static_cast<std::byte*>(own_.data());
    const std::vector<std::size_t> counts(memory.of_ranks.size(), sizeof mine);
    communicator_.all_gather(std::as_bytes(std::span(&mine, 1)),
                             std::as_writable_bytes(std::span(memory.of_ranks)), counts, "peers");
    for (std::byte* other : memory.of_ranks) {
      if (other != mine) gpu_.map(other, own_.size(), "a peer's memory");
    }
    return memory;
  }
  void wait(std::string_view what, const std::function<bool()>& look) override {
    const auto mark = gpu_.make_mark();
    mark->set();
    wait(*mark, what, look);
  }
  void wait(kernels::cuda::Mark& mark, std::string_view what,
            const std::function<bool()>& look) override {
    for (std::size_t silent = 1; !mark.reached(); ++silent) {
      gpu_.do_next();
      longest_silence = std::max(longest_silence, silent);
      if (look()) silent = 0;
    }
    mark.wait(std::string(what).c_str());
    ++waits;
    look();
  }

  bool windows = false;                                   // gathers have whole pieces
  std::set<std::string, std::less<>> gathered_elsewhere;  // than in gather_memory()
  int exchanges = 0;
  int waits = 0;
  std::size_t longest_silence = 0;  // items of work, while nothing said that it went on

 private:
  static std::size_t sum(const std::vector<std::size_t>& counts) {
    std::size_t all = 0;
    for (const std::size_t count : counts) all += count;
    return all;
  }
  bool is_gather_memory(const void* memory, std::size_t bytes) const {
    const auto* first = static_cast<const std::byte*>(memory);
    return std::ranges::any_of(gather_memory_, [&](const auto& given) {
      return given.first <= first && first + bytes <= given.second;
    });
  }

  kernels::cuda::ExecutedGpu& gpu_;
  comm::Communicator& communicator_;
  std::vector<std::pair<const std::byte*, const std::byte*>> gather_memory_;
  const std::optional<Patience> peers_;
  const int first_rank_;
  kernels::device::Allocation own_;  // of peer_memory()
};

}  // namespace lockstep::shard

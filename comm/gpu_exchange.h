// Collectives on the memory of GPUs, in the order of the rank's other work there. Plain C++; the
// body is NCCL's (comm/cuda/nccl_exchange.h), in tests threads with memory of the host.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "kernels/cuda/gpu.h"

namespace lockstep::comm {

// What memory that other ranks map takes of a device for `bytes`: CUDA recommends to share whole
// pieces of 2 MiB between processes, in which nothing else lies then (Programming Guide,
// "Interprocess Communication"), and ncclMemAlloc() gives whole pieces.
constexpr std::size_t whole_peer_memory(std::size_t bytes) {
  constexpr std::size_t kPiece = 2 << 20;
  return (bytes + kPiece - 1) / kPiece * kPiece;
}

// What an exchange takes of a device, beyond plain memory.
struct ExchangeMemory {
  bool peers = true;     // peer_memory() is not empty, where ranks are not too many
  bool windows = false;  // gather_memory() is mapped by the other ranks

  // What gather_memory(bytes) takes, of so many ranks.
  std::size_t gather_bytes(std::size_t bytes, int ranks) const {
    return windows && ranks > 1 ? whole_peer_memory(bytes) : bytes;
  }
};

// Memory of every rank that the kernels of all ranks read and write.
struct PeerMemory {
  std::vector<std::byte*> of_ranks;      // as this rank addresses it, in rank order; empty: none
  std::chrono::nanoseconds patience{0};  // for which a kernel waits for another rank's, at most
  int first_rank = 0;                    // what the replica calls rank 0 of these
};

// One rank's end. All ranks call the same operations in the same order with matching counts.
// Operations are put in line and return at once, and may be part of a Recording; whether the other
// ranks came shows in wait(). Bytes are moved, and never reduced.
class GpuExchange {
 public:
  virtual ~GpuExchange() = default;
  virtual int rank() const = 0;
  virtual int size() const = 0;
  virtual std::string_view name() const = 0;

  // Concatenates every rank's bytes in rank order into `all`, on every rank. counts[r] is the
  // number of bytes of rank r. `mine` may lie at its own place in `all`; else they may not overlap.
  // `what` names the call in errors, e.g. "layer 12 mlp".
  virtual void all_gather(const void* mine, void* all, std::span<const std::size_t> counts,
                          std::string_view what) = 0;

  // Sends send_counts[r] bytes to each rank r, which lie in `send` in rank order; receives into
  // `received` in rank order. The two may not overlap.
  virtual void all_to_all(const void* send, std::span<const std::size_t> send_counts,
                          void* received, std::span<const std::size_t> receive_counts,
                          std::string_view what) = 0;

  // Memory of this rank's device for what all_gather() moves at every step, which may move it
  // faster: at least `bytes`, the same number on every rank. `label`: MemoryPool::allocate().
  // Collective, at the start; it goes before this object. Throws Error when there is no room.
  virtual kernels::device::Allocation gather_memory(const std::string& label,
                                                    std::size_t bytes) = 0;

  // Memory for kernels that exchange by themselves: `bytes` zeroed bytes of every rank, the same
  // number on each, as long as this object lives. None, on all ranks, where that is not the way
  // they take. Collective, at the start. Throws Error when there is no room.
  virtual PeerMemory peer_memory(std::size_t bytes) = 0;

  // Returns when everything that this rank has put in line is done. Throws CollectiveTimeout when
  // it is not within the deadline, and Error when something failed. `look` is called now and then
  // meanwhile, and in the end: what it throws ends the waiting, and the deadline begins anew when
  // it says that the work has gone on.
  virtual void wait(std::string_view what, const std::function<bool()>& look) = 0;
  // The same for what is in line before `mark`.
  virtual void wait(kernels::cuda::Mark& mark, std::string_view what,
                    const std::function<bool()>& look) = 0;
};

}  // namespace lockstep::comm

// Collectives on the memory of GPUs by NCCL.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "comm/all_reduce_choice.h"
#include "comm/cuda/ipc_memory.h"
#include "comm/cuda/nccl_communicator.h"
#include "comm/cuda/window_allocator.h"
#include "comm/gpu_exchange.h"
#include "kernels/cuda/memory_pool.h"
#include "kernels/cuda/stream.h"

namespace lockstep::comm::cuda {

// A rank beside those that share memory with it.
struct PeerRank {
  Communicator& ranks;
  kernels::cuda::DevicePool& pool;
  std::chrono::nanoseconds patience;  // of its kernels
  int first_rank;                     // what the replica calls rank 0 of these
  AllReduce path;                     // peer or nccl
  WindowAllocator* windows;           // nullptr: gathers have plain memory
};

// A communicator's operations, on one stream.
class NcclExchange final : public GpuExchange {
 public:
  // All must outlive it. Recordings that hold its operations go before the communicator.
  NcclExchange(NcclCommunicator& communicator, const kernels::cuda::Stream& stream,
               const PeerRank& peer)
      : communicator_(communicator), stream_(stream), peer_(peer), name_(communicator.name()) {}

  int rank() const override { return communicator_.rank(); }
  int size() const override { return communicator_.size(); }
  std::string_view name() const override { return name_; }

  void all_gather(const void* mine, void* all, std::span<const std::size_t> counts,
                  std::string_view what) override {
    communicator_.all_gather(mine, all, counts, stream_, what);
  }
  void all_to_all(const void* send, std::span<const std::size_t> send_counts, void* received,
                  std::span<const std::size_t> receive_counts, std::string_view what) override {
    communicator_.all_to_all(send, send_counts, received, receive_counts, stream_, what);
  }
  kernels::device::Allocation gather_memory(const std::string& label, std::size_t bytes) override {
    if (peer_.windows == nullptr) return peer_.pool.allocate(label, bytes);
    return peer_.pool.allocate_from(*peer_.windows, label, whole_peer_memory(bytes));
  }
  PeerMemory peer_memory(std::size_t bytes) override {
    if (peer_.path != AllReduce::peer) return {};
    memory_ = std::make_unique<IpcMemory>(peer_.ranks, peer_.first_rank, peer_.pool,
                                          "sums between ranks", bytes);
    return {memory_->of_ranks(), peer_.patience, peer_.first_rank};
  }
  void wait(std::string_view what, const std::function<bool()>& look) override {
    communicator_.wait(stream_, what, look);
  }
  void wait(kernels::cuda::Mark& mark, std::string_view what,
            const std::function<bool()>& look) override {
    communicator_.wait_until([&mark] { return mark.reached(); }, what, look);
  }

 private:
  NcclCommunicator& communicator_;
  const kernels::cuda::Stream& stream_;
  const PeerRank peer_;
  const std::string name_;
  std::unique_ptr<IpcMemory> memory_;
};

}  // namespace lockstep::comm::cuda

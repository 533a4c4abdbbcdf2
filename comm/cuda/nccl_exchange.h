// Collectives on the memory of GPUs by NCCL.
#pragma once

#include "comm/cuda/nccl_communicator.h"
#include "comm/gpu_exchange.h"
#include "kernels/cuda/stream.h"

namespace lockstep::comm::cuda {

// A communicator's operations, on one stream.
class NcclExchange final : public GpuExchange {
 public:
  // Both must outlive it. Recordings that hold its operations go before the communicator.
  NcclExchange(NcclCommunicator& communicator, const kernels::cuda::Stream& stream)
      : communicator_(communicator), stream_(stream), name_(communicator.name()) {}

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
  void wait(std::string_view what) override { communicator_.wait(stream_, what); }
  void wait(kernels::cuda::Mark& mark, std::string_view what) override {
    communicator_.wait_until([&mark] { return mark.reached(); }, what);
  }

 private:
  NcclCommunicator& communicator_;
  const kernels::cuda::Stream& stream_;
  const std::string name_;
};

}  // namespace lockstep::comm::cuda

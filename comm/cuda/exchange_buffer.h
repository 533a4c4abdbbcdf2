// Device memory that the ranks of a communicator exchange from and into.
#pragma once

#include <nccl.h>

#include <cstddef>
#include <memory>
#include <string>

#include "comm/cuda/nccl_communicator.h"
#include "kernels/cuda/memory_pool.h"

namespace lockstep::comm::cuda {

// With NcclOptions::symmetric_windows it is registered as a symmetric window (NCCL 2.27): where the
// GPUs reach each other's memory, an all-gather whose two buffers are such windows takes NCCL's
// low-latency kernels, which write straight to the other ranks. That is for small buffers that are
// used at every step. Without the option it is plain memory; what it is used for is the same.
class ExchangeBuffer {
 public:
  // Collective over the ranks of `communicator`, with equal sizes. `bytes` > 0. The communicator
  // and the pool, whose ledger counts it under `label`, must outlive it. Throws Error.
  ExchangeBuffer(NcclCommunicator& communicator, kernels::cuda::DevicePool& pool,
                 const std::string& label, std::size_t bytes);
  ~ExchangeBuffer();
  ExchangeBuffer(const ExchangeBuffer&) = delete;
  ExchangeBuffer& operator=(const ExchangeBuffer&) = delete;

  std::byte* data() const { return static_cast<std::byte*>(memory_.data()); }
  std::size_t size() const { return memory_.size(); }
  // Whether NCCL has made it a window: it does not where the GPUs cannot reach each other.
  bool is_window() const { return window_ != nullptr; }

 private:
  NcclCommunicator& communicator_;
  const std::unique_ptr<kernels::device::Allocator> allocator_;  // none: the pool's own
  kernels::device::Allocation memory_;
  ncclWindow_t window_ = nullptr;
};

}  // namespace lockstep::comm::cuda

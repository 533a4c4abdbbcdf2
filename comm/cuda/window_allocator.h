// Device memory that the ranks of a communicator gather from and into, as NCCL's symmetric windows.
#pragma once

#include <string>

#include "comm/cuda/nccl_communicator.h"
#include "kernels/cuda/memory_pool.h"

namespace lockstep::comm::cuda {

// Every allocation is registered as a symmetric window (NCCL 2.27): where the GPUs reach each
// other's memory, an all-gather of equal counts whose two buffers lie in such windows takes NCCL's
// low-latency kernels, which write straight to the other ranks. Where they do not, NCCL makes no
// window, and the memory serves all the same.
class WindowAllocator final : public kernels::device::Allocator {
 public:
  // All must outlive it.
  WindowAllocator(NcclCommunicator& communicator, const kernels::cuda::Device& device)
      : communicator_(communicator),
        device_(device),
        plain_(device),
        name_("NCCL's memory of " + device.name()) {}

  std::string_view name() const override { return name_; }
  // Collective over the ranks of the communicator, with equal sizes. Throws Error, or
  // CollectiveTimeout when ranks do not come; the memory is lost then, for NCCL may still use it.
  void* allocate(std::size_t bytes) override;
  // Not collective.
  void release(void* memory) noexcept override;
  Room room() override { return plain_.room(); }

  int asked() const { return asked_; }  // for so many windows
  int made() const { return made_; }    // by NCCL

 private:
  NcclCommunicator& communicator_;
  const kernels::cuda::Device& device_;
  kernels::cuda::DeviceAllocator plain_;
  const std::string name_;
  int asked_ = 0, made_ = 0;
};

}  // namespace lockstep::comm::cuda

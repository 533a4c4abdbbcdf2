// The two memory pools of a rank. The books are kept in kernels/device/memory_pool.h.
#pragma once

#include <memory>

#include "kernels/cuda/allocators.h"

namespace lockstep::kernels::cuda {

// A pool of the device's memory. The device must outlive it.
class DevicePool final : public device::MemoryPool {
 public:
  explicit DevicePool(const Device& device)
      : MemoryPool(std::make_unique<DeviceAllocator>(device)), device_(device) {}
  const Device& device() const { return device_; }

 private:
  const Device& device_;
};

// A pool of pinned host memory. The device must outlive it.
class PinnedPool final : public device::MemoryPool {
 public:
  explicit PinnedPool(const Device& device)
      : MemoryPool(std::make_unique<PinnedAllocator>(device)) {}
};

}  // namespace lockstep::kernels::cuda

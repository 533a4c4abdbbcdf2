// Where the memory pools of a rank get their memory.
#pragma once

#include "kernels/cuda/device.h"
#include "kernels/device/memory_pool.h"

namespace lockstep::kernels::cuda {

// Memory of the device (cudaMalloc): aligned to 256 bytes, its address is the same in every launch
// of a graph.
class DeviceAllocator final : public device::Allocator {
 public:
  explicit DeviceAllocator(const Device& device) : device_(device), name_(device.name()) {}
  std::string_view name() const override { return name_; }
  void* allocate(std::size_t bytes) override;
  void release(void* memory) noexcept override;
  Room room() override;

 private:
  const Device& device_;
  const std::string name_;
};

// Memory of the host that stays where it is, so that the device copies it without the CPU
// (cudaHostAlloc).
class PinnedAllocator final : public device::Allocator {
 public:
  explicit PinnedAllocator(const Device& device)
      : device_(device), name_("pinned host memory of " + device.name()) {}
  std::string_view name() const override { return name_; }
  void* allocate(std::size_t bytes) override;
  void release(void* memory) noexcept override;
  Room room() override { return {}; }

 private:
  const Device& device_;
  const std::string name_;
};

}  // namespace lockstep::kernels::cuda

#include "kernels/cuda/allocators.h"

#include <cuda_runtime_api.h>

#include "kernels/cuda/status.h"

namespace lockstep::kernels::cuda {
namespace {

// nullptr for want of room, which the caller explains; throws for anything else.
void* memory_or_nothing(cudaError_t status, void* memory, const char* call, const Device& device) {
  if (status == cudaErrorMemoryAllocation) {
    cudaGetLastError();
    return nullptr;
  }
  check(status, call, device);
  return memory;
}

}  // namespace

void* DeviceAllocator::allocate(std::size_t bytes) {
  device_.bind_thread();
  void* memory = nullptr;
  const cudaError_t status = cudaMalloc(&memory, bytes);
  return memory_or_nothing(status, memory, "cudaMalloc", device_);
}

void DeviceAllocator::release(void* memory) noexcept { cudaFree(memory); }

device::Allocator::Room DeviceAllocator::room() {
  device_.bind_thread();
  Room room;
  check(cudaMemGetInfo(&room.free, &room.total), "cudaMemGetInfo", device_);
  return room;
}

void* PinnedAllocator::allocate(std::size_t bytes) {
  device_.bind_thread();
  void* memory = nullptr;
  const cudaError_t status = cudaHostAlloc(&memory, bytes, cudaHostAllocDefault);
  return memory_or_nothing(status, memory, "cudaHostAlloc", device_);
}

void PinnedAllocator::release(void* memory) noexcept { cudaFreeHost(memory); }

}  // namespace lockstep::kernels::cuda

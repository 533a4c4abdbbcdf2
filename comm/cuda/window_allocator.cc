#include "comm/cuda/window_allocator.h"

#include "comm/cuda/nccl_status.h"

namespace lockstep::comm::cuda {

void* WindowAllocator::allocate(std::size_t bytes) {
  device_.bind_thread();
  void* memory = nullptr;
  const ncclResult_t result = ncclMemAlloc(&memory, bytes);
  // NCCL has one code for every failure of CUDA's.
  if (result == ncclUnhandledCudaError && room().free < bytes) return nullptr;
  check_nccl(result, "ncclMemAlloc", device_.name());
  ++asked_;
  if (communicator_.make_window(memory, bytes)) ++made_;
  return memory;
}

void WindowAllocator::release(void* memory) noexcept {
  communicator_.end_window(memory);
  ncclMemFree(memory);
}

}  // namespace lockstep::comm::cuda

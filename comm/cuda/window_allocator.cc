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
  try {
    ++asked_;
    if (const ncclWindow_t window = register_window(memory, bytes); window != nullptr) {
      windows_.emplace(memory, window);
      ++made_;
    }
  } catch (...) {
    ncclMemFree(memory);
    throw;
  }
  return memory;
}

ncclWindow_t WindowAllocator::register_window(void* memory, std::size_t bytes) {
  const NcclCommunicator::Operation operation = communicator_.begin("registering a window");
  ncclWindow_t window = nullptr;
  communicator_.require(ncclCommWindowRegister(communicator_.communicator_, memory, bytes, &window,
                                               NCCL_WIN_COLL_SYMMETRIC),
                        "ncclCommWindowRegister", operation);
  communicator_.settle("ncclCommWindowRegister", operation);
  return window;
}

void WindowAllocator::release(void* memory) noexcept {
  if (const auto window = windows_.find(memory); window != windows_.end()) {
    // An aborted communicator has taken its windows along.
    if (communicator_.communicator_ != nullptr) {
      ncclCommWindowDeregister(communicator_.communicator_, window->second);
    }
    windows_.erase(window);
  }
  ncclMemFree(memory);
}

}  // namespace lockstep::comm::cuda

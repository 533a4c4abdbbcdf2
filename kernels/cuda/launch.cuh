// Launching a kernel on a stream.
#pragma once

#include <cuda_runtime.h>

#include <string>

#include "base/error.h"
#include "kernels/cuda/grid.h"

namespace lockstep::kernels::cuda {

inline void check_launch(cudaError_t status, const char* kernel) {
  if (status == cudaSuccess) return;
  throw Error(std::string("CUDA kernel ") + kernel + ": " + cudaGetErrorString(status));
}

// The most shared memory that a block may ask for on this process's device.
inline std::int64_t most_shared_bytes() {
  static const int bytes = [] {
    int device = 0, found = 0;
    check_launch(cudaGetDevice(&device), "(its device)");
    check_launch(cudaDeviceGetAttribute(&found, cudaDevAttrMaxSharedMemoryPerBlockOptin, device),
                 "(its device's shared memory)");
    return found;
  }();
  return bytes;
}

// Enqueues `kernel`(args). Throws Error, naming the kernel, if CUDA refuses the launch.
template <class Args>
void launch_kernel(const char* name, void (*kernel)(Args), const Grid& grid, const Args& args,
                   StreamHandle stream) {
  if (grid.x == 0 || grid.y == 0) return;
  // Beyond this a kernel has to ask. It asks for the most, whatever this launch takes: a recording
  // may hold one that takes more.
  if (grid.shared_bytes > (48 << 10)) {
    check_launch(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(most_shared_bytes())),
                 name);
  }
  const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y));
  kernel<<<blocks, grid.threads, static_cast<std::size_t>(grid.shared_bytes), stream>>>(args);
  check_launch(cudaGetLastError(), name);
}

}  // namespace lockstep::kernels::cuda

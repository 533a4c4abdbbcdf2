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

// Enqueues `kernel`(args). Throws Error, naming the kernel, if CUDA refuses the launch.
template <class Args>
void launch_kernel(const char* name, void (*kernel)(Args), const Grid& grid, const Args& args,
                   StreamHandle stream) {
  if (grid.x == 0 || grid.y == 0) return;
  if (grid.shared_bytes > (48 << 10)) {  // beyond this a kernel has to ask
    check_launch(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                      static_cast<int>(grid.shared_bytes)),
                 name);
  }
  const dim3 blocks(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y));
  kernel<<<blocks, grid.threads, static_cast<std::size_t>(grid.shared_bytes), stream>>>(args);
  check_launch(cudaGetLastError(), name);
}

}  // namespace lockstep::kernels::cuda

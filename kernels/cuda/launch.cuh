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

// What this process's device says of itself.
inline int device_attribute(cudaDeviceAttr attribute) {
  int device = 0, found = 0;
  check_launch(cudaGetDevice(&device), "(its device)");
  check_launch(cudaDeviceGetAttribute(&found, attribute, device), "(its device's attributes)");
  return found;
}

// The most shared memory that a block may ask for on this process's device.
inline std::int64_t most_shared_bytes() {
  static const int bytes = device_attribute(cudaDevAttrMaxSharedMemoryPerBlockOptin);
  return bytes;
}

// Whether a kernel may begin before the one in front of it has ended (gpu_thread.cuh).
inline bool kernels_overlap() {
  static const bool overlap = device_attribute(cudaDevAttrComputeCapabilityMajor) >= 9;
  return overlap;
}

// Enqueues `kernel`(args), which waits for earlier kernels itself. Throws Error, naming the kernel,
// if CUDA refuses the launch.
template <class Args>
void launch_overlapping(const char* name, void (*kernel)(Args), dim3 blocks, dim3 threads,
                        std::size_t shared_bytes, const Args& args, StreamHandle stream) {
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = threads;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = kernels_overlap() ? 1 : 0;
  check_launch(cudaLaunchKernelEx(&config, kernel, args), name);
}

// The same for own kernels, which call wait_for_earlier().
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
  launch_overlapping(name, kernel,
                     dim3(static_cast<unsigned>(grid.x), static_cast<unsigned>(grid.y)),
                     dim3(static_cast<unsigned>(grid.threads)),
                     static_cast<std::size_t>(grid.shared_bytes), args, stream);
}

}  // namespace lockstep::kernels::cuda

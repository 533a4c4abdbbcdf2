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

// Whether a kernel's code was compiled to wait for earlier ones (gpu_thread.cuh). It is the code
// that counts, and not the device, which may have made its own of another's.
inline bool waits_for_earlier(const void* kernel, const char* name) {
  cudaFuncAttributes found{};
  check_launch(cudaFuncGetAttributes(&found, kernel), name);
  return found.ptxVersion >= 90 && found.binaryVersion >= 90;
}

// Enqueues `kernel`(args), which waits for earlier kernels itself where its code can: there it may
// begin before they have ended. Throws Error, naming the kernel, if CUDA refuses the launch.
template <class Args>
void launch_overlapping(const char* name, void (*kernel)(Args), dim3 blocks, dim3 threads,
                        std::size_t shared_bytes, const Args& args, StreamHandle stream) {
  // One share of shared memory for all kernels: a multiprocessor that has to change it must be
  // empty first, and nothing would overlap.
  check_launch(cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                                    cudaSharedmemCarveoutMaxShared),
               name);
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = threads;
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &overlap;
  const auto* code = reinterpret_cast<const void*>(kernel);
  // All of a build's code is for the same devices.
  static const bool overlaps = waits_for_earlier(code, name);
  config.numAttrs = overlaps ? 1 : 0;
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

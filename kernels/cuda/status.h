// CUDA's and cuBLAS's return codes as errors.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

namespace lockstep::kernels::cuda {

class Device;

// Throws Error unless the call succeeded: "rank 3, CUDA device 1 (NVIDIA H200): cudaLaunchKernel:
// out of memory (cudaErrorMemoryAllocation)". `call` names what returned the status. A kernel's
// fault shows at a later call; the error then says that it may stem from an earlier one.
void check(cudaError_t status, const char* call, const Device& device);
void check(cublasStatus_t status, const char* call, const Device& device);

// Throws as check() does if the launch of the kernel just started failed. `kernel` is its name.
void check_launch(const char* kernel, const Device& device);

}  // namespace lockstep::kernels::cuda

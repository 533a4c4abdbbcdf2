// What marks a function that kernels call, in the only macro of this folder.
#pragma once

// Device code under nvcc; plain C++ where the same source runs on the CPU, block by block, in
// tests.
#if defined(__CUDACC__)
#define LOCKSTEP_DEVICE __device__ __forceinline__
#else
#define LOCKSTEP_DEVICE inline
#endif

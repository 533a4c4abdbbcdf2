// The thread context of kernels on a GPU: every kernel is a template over a class with these
// members. tests/kernels/cuda/block_executor.h has the one that runs on the CPU.
#pragma once

#include <cstdint>

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/pack.h"

namespace lockstep::kernels::cuda {

struct GpuThread {
  LOCKSTEP_DEVICE int index() const { return static_cast<int>(threadIdx.x); }  // in the block
  LOCKSTEP_DEVICE int count() const { return static_cast<int>(blockDim.x); }
  LOCKSTEP_DEVICE int lane() const { return index() % 32; }
  LOCKSTEP_DEVICE int warp() const { return index() / 32; }
  LOCKSTEP_DEVICE int block_x() const { return static_cast<int>(blockIdx.x); }
  LOCKSTEP_DEVICE int block_y() const { return static_cast<int>(blockIdx.y); }
  LOCKSTEP_DEVICE int blocks_x() const { return static_cast<int>(gridDim.x); }

  // Waits for all threads of the block; what they wrote to shared memory can be read then.
  LOCKSTEP_DEVICE void sync() { __syncthreads(); }

  // The value of lane() ^ mask, or of lane() + delta (one's own past the last lane). All lanes of a
  // warp take part.
  template <class T>
  LOCKSTEP_DEVICE T shuffle_xor(T value, int mask) {
    return __shfl_xor_sync(0xffffffffu, value, mask);
  }
  template <class T>
  LOCKSTEP_DEVICE T shuffle_down(T value, int delta) {
    return __shfl_down_sync(0xffffffffu, value, static_cast<unsigned>(delta));
  }

  // `count` values of the block's shared memory, `byte_offset` bytes from its start.
  template <class T>
  LOCKSTEP_DEVICE T* shared(std::int64_t byte_offset, std::int64_t /*count*/) {
    extern __shared__ __align__(16) unsigned char memory[];
    return reinterpret_cast<T*>(memory + byte_offset);
  }

  // Global memory. Kernels touch it with these alone, so that tests see every access.
  template <class T>
  LOCKSTEP_DEVICE T load(const T* from) {
    return *from;
  }
  template <class T>
  LOCKSTEP_DEVICE void store(T* to, const T& value) {
    *to = value;
  }

  // What is read once in a launch and written by none of its threads: it passes by the first cache.
  LOCKSTEP_DEVICE Pack<std::uint32_t, 4> load_once(const Pack<std::uint32_t, 4>* from) {
    Pack<std::uint32_t, 4> value;
    asm("ld.global.nc.L1::no_allocate.L2::128B.v4.u32 {%0, %1, %2, %3}, [%4];"
        : "=r"(value[0]), "=r"(value[1]), "=r"(value[2]), "=r"(value[3])
        : "l"(from));
    return value;
  }
};

}  // namespace lockstep::kernels::cuda

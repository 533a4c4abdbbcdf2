// How kernels are launched, in plain C++: for launchers, for what runs on top, and for tests.
#pragma once

#include <cstdint>

struct CUstream_st;

namespace lockstep::kernels::cuda {

// What cuda_runtime.h calls cudaStream_t.
using StreamHandle = CUstream_st*;

inline constexpr int kWarp = 32;

// The most shared memory that a block may ask for on Hopper and on data center Blackwell (compute
// capability 9.0, 10.0). An A100 has 163 KiB, a GPU of capability 8.9 99 (launch.cuh asks).
inline constexpr std::int64_t kMaxSharedBytes = 227 << 10;

// Blocks of threads. A grid without blocks is no launch at all.
struct Grid {
  std::int64_t x = 1;             // below 2^31
  std::int64_t y = 1;             // below 2^16
  std::int32_t threads = kWarp;   // of a block: a multiple of 32, at most 1024
  std::int64_t shared_bytes = 0;  // of a block
};

constexpr std::int64_t divide_up(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }

}  // namespace lockstep::kernels::cuda

// The way of large data to the GPU: through two pinned buffers that take turns.
#pragma once

#include <array>
#include <cstddef>
#include <span>

#include "kernels/cuda/gpu.h"

namespace lockstep::shard {

// While one buffer is copied to the device the other is filled: the host's memory is two buffers,
// however much goes through them.
class Staging {
 public:
  // `bytes` of each. The GPU must outlive it.
  Staging(kernels::cuda::Gpu& gpu, std::size_t bytes);

  // The buffer to fill.
  std::span<std::byte> buffer() const;
  // Puts the copy of its first bytes in line, when the other buffer's has ended, and turns to that.
  void send(void* to, std::size_t bytes);
  // The same for bytes that lie elsewhere on the host, through as many buffers as it takes.
  void send_all(void* to, std::span<const std::byte> from);
  // Waits for all copies.
  void finish();

 private:
  kernels::cuda::Gpu& gpu_;
  std::array<kernels::device::Allocation, 2> buffers_;
  std::size_t turn_ = 0;
};

}  // namespace lockstep::shard

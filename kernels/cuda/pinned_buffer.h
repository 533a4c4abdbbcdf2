// Host memory that a device copies from and to by itself.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "kernels/cuda/memory_pool.h"

namespace lockstep::kernels::cuda {

// `count` elements of T. Not initialized. Movable; the pool must outlive it. While a copy is under
// way on a stream, neither side of it may be touched.
template <class T>
class PinnedBuffer {
 public:
  PinnedBuffer() = default;
  // Throws Error with the pool's table when there is no room.
  PinnedBuffer(PinnedPool& pool, const std::string& label, std::size_t count)
      : memory_(pool.allocate(label, count * sizeof(T))) {}

  T* data() const { return static_cast<T*>(memory_.data()); }
  std::size_t size() const { return memory_.size() / sizeof(T); }
  std::span<T> span() const { return {data(), size()}; }

 private:
  device::Allocation memory_;
};

}  // namespace lockstep::kernels::cuda

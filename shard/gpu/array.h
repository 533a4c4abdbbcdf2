// Arrays in the memory of a GPU.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>
#include <string>
#include <utility>

#include "kernels/cuda/gpu.h"

namespace lockstep::shard {

// `size` elements of T, not initialized. Its pool must outlive it.
template <class T>
class GpuArray {
 public:
  GpuArray() = default;
  // Throws Error with the pool's table when there is no room.
  GpuArray(kernels::cuda::Gpu& gpu, const std::string& label, std::int64_t size)
      : memory_(gpu.memory().allocate(label, static_cast<std::size_t>(size) * sizeof(T))) {}

  // An array that takes all of `memory`.
  explicit GpuArray(kernels::device::Allocation memory) : memory_(std::move(memory)) {}

  T* data() const { return static_cast<T*>(memory_.data()); }
  std::int64_t size() const { return static_cast<std::int64_t>(memory_.size() / sizeof(T)); }

 private:
  kernels::device::Allocation memory_;
};

// An array with these values. Waits for the copy: for what is made at the start.
template <class T>
GpuArray<T> upload_array(kernels::cuda::Gpu& gpu, const std::string& label,
                         std::span<const T> values) {
  GpuArray<T> array(gpu, label, std::ssize(values));
  if (values.empty()) return array;
  const auto pinned = gpu.pinned_memory().allocate(label, values.size_bytes());
  std::memcpy(pinned.data(), values.data(), values.size_bytes());
  gpu.upload(array.data(), {static_cast<const std::byte*>(pinned.data()), pinned.size()},
             label.c_str());
  gpu.synchronize(label.c_str());
  return array;
}

}  // namespace lockstep::shard

// A step's small arrays on their way to the GPU: one pinned buffer, one copy.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <span>

#include "kernels/cuda/gpu.h"

namespace lockstep::shard {

// One piece of an upload: where the host writes it, and where kernels will read it.
template <class T>
struct Uploaded {
  std::span<T> host;
  const T* device = nullptr;
};

// Two pinned buffers take turns, so that a step can be written while the copy of the one before is
// under way. On the device there is one: copies and kernels run in order. The device's addresses
// of a step follow from the sizes of its pieces and their order: a Recording may hold them.
class StepUpload {
 public:
  // `bytes`: the most that a step takes, whole_pieces() of every piece. `wait` returns when a mark
  // is reached: where ranks exchange, within a deadline.
  StepUpload(kernels::cuda::Gpu& gpu, std::size_t bytes,
             std::function<void(kernels::cuda::Mark& mark)> wait);

  // What a piece of `bytes` takes: pieces begin at multiples of kAlignment.
  static constexpr std::size_t kAlignment = 256;
  static constexpr std::size_t whole_pieces(std::size_t bytes) {
    return (bytes + kAlignment - 1) / kAlignment * kAlignment;
  }

  // What it takes of the device.
  static constexpr std::size_t device_bytes(std::size_t bytes) { return whole_pieces(bytes); }

  // Begins a step. Waits for the copy of the step before the last, if it is not done.
  void begin();

  // Adds a piece. Throws Error when there is no room.
  template <class T>
  Uploaded<T> add(std::int64_t count) {
    const auto size = static_cast<std::size_t>(count);
    const std::size_t at = take(size * sizeof(T));
    return {{reinterpret_cast<T*>(host() + at), size},
            reinterpret_cast<const T*>(static_cast<const std::byte*>(device_.data()) + at)};
  }

  // Puts the copy of all pieces in line.
  void send();

 private:
  std::byte* host() const { return static_cast<std::byte*>(pinned_[turn_].data()); }
  std::size_t take(std::size_t bytes);

  kernels::cuda::Gpu& gpu_;
  const std::function<void(kernels::cuda::Mark&)> wait_;
  std::array<kernels::device::Allocation, 2> pinned_;
  kernels::device::Allocation device_;
  const std::array<std::unique_ptr<kernels::cuda::Mark>, 2> copied_;
  std::size_t turn_ = 0;
  std::size_t used_ = 0;
};

}  // namespace lockstep::shard

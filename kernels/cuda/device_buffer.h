// Memory of a device.
#pragma once

#include <cstddef>
#include <span>
#include <string>

#include "kernels/cuda/memory_pool.h"
#include "kernels/cuda/stream.h"

namespace lockstep::kernels::cuda {

// Copies on a stream. From or to memory that is not pinned, the call may return only when the copy
// is done. `what` names the data in errors. Throws Error.
void copy_to_device(void* to, std::span<const std::byte> from, const Stream& stream,
                    const char* what);
void copy_to_host(std::span<std::byte> to, const void* from, const Stream& stream,
                  const char* what);
void copy_on_device(void* to, const void* from, std::size_t bytes, const Stream& stream,
                    const char* what);
// Sets `bytes` bytes to zero.
void clear(void* memory, std::size_t bytes, const Stream& stream, const char* what);

// `count` elements of T. Not initialized. Movable; the pool must outlive it.
template <class T>
class DeviceBuffer {
 public:
  DeviceBuffer() = default;
  // Throws Error with the pool's table when there is no room.
  DeviceBuffer(DevicePool& pool, const std::string& label, std::size_t count)
      : memory_(pool.allocate(label, count * sizeof(T))) {}

  T* data() const { return static_cast<T*>(memory_.data()); }
  std::size_t size() const { return memory_.size() / sizeof(T); }
  const std::string& label() const { return memory_.label(); }

  // The first elements from and to the host, on a stream. REQUIRES: as many as fit.
  void upload(std::span<const T> from, const Stream& stream) {
    copy_to_device(data(), std::as_bytes(from), stream, label().c_str());
  }
  void download(std::span<T> to, const Stream& stream) const {
    copy_to_host(std::as_writable_bytes(to), data(), stream, label().c_str());
  }
  void clear(const Stream& stream) { cuda::clear(data(), memory_.size(), stream, label().c_str()); }

 private:
  device::Allocation memory_;
};

}  // namespace lockstep::kernels::cuda

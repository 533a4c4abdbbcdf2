// Zeroed memory for weights, caches and activations.
#pragma once

#include <cstddef>
#include <utility>

namespace lockstep::kernels {

// Owns `bytes` zeroed bytes, aligned to a page and backed by huge pages where the system has them:
// weights are read front to back once a step, and each 4 KiB page would cost a TLB miss.
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  // Throws Error naming the size when the system refuses.
  explicit AlignedBuffer(std::size_t bytes);
  ~AlignedBuffer();
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }

  template <class T>
  T* as() {
    return static_cast<T*>(data_);
  }
  template <class T>
  const T* as() const {
    return static_cast<const T*>(data_);
  }
  std::size_t size() const { return size_; }

 private:
  void* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace lockstep::kernels

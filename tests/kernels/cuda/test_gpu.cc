#include "tests/kernels/cuda/test_gpu.h"

#include <algorithm>

namespace lockstep::kernels::cuda {

std::span<std::byte> TestGpu::staging(std::size_t bytes) {
  if (staging_.size() < bytes) staging_ = gpu().pinned_memory().allocate("staging", bytes);
  return {static_cast<std::byte*>(staging_.data()), bytes};
}

void* TestGpu::array(std::span<const std::byte> bytes, const std::string& name) {
  if (bytes.empty()) return nullptr;
  device::Allocation memory = gpu().memory().allocate(name, bytes.size());
  void* const first = memory.data();
  const auto staged = staging(bytes.size());
  std::ranges::copy(bytes, staged.begin());
  gpu().upload(first, staged, name.c_str());
  gpu().synchronize(name.c_str());
  arrays_.emplace(first, std::move(memory));
  return first;
}

std::span<const std::byte> TestGpu::bytes_at(const void* first) {
  if (first == nullptr) return {};
  const device::Allocation& memory = arrays_.at(first);
  const auto staged = staging(memory.size());
  gpu().download(staged, first, memory.label().c_str());
  gpu().synchronize(memory.label().c_str());
  return staged;
}

}  // namespace lockstep::kernels::cuda

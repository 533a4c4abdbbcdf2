#include "tests/kernels/cuda/device_memory.h"

#include <algorithm>
#include <utility>

#include "base/error.h"

namespace lockstep::kernels::cuda {
namespace {

constexpr std::size_t kAlignment = 256;
constexpr std::size_t kMargin = 4096;

std::string name_of(Toucher who) {
  return "block " + std::to_string(who.block) + ", thread " + std::to_string(who.thread);
}

}  // namespace

std::byte* DeviceMemory::allocate(std::size_t size, bool writable, std::string name) {
  const std::size_t total = size + 2 * kMargin + kAlignment;
  Array array{std::move(name), size, std::make_unique<std::byte[]>(total), nullptr, {}};
  std::fill_n(array.memory.get(), total, std::byte{0xff});
  const auto start = reinterpret_cast<std::uintptr_t>(array.memory.get()) + kMargin;
  const auto aligned = (start + kAlignment - 1) / kAlignment * kAlignment;
  array.bytes = reinterpret_cast<std::byte*>(aligned);
  if (writable) array.writers.assign(std::max<std::size_t>(size, 1), 0);
  return arrays_.emplace(aligned, std::move(array)).first->second.bytes;
}

const DeviceMemory::Array& DeviceMemory::at(const void* address, Toucher who) const {
  const auto place = reinterpret_cast<std::uintptr_t>(address);
  const auto next = arrays_.upper_bound(place + kMargin);
  if (next != arrays_.begin()) {
    const Array& array = std::prev(next)->second;
    if (static_cast<const std::byte*>(address) < array.bytes + array.size + kMargin) return array;
  }
  throw Error(name_of(who) + ": an address in no array");
}

const DeviceMemory::Array& DeviceMemory::check(const void* address, std::size_t size,
                                               std::size_t alignment, Toucher who) const {
  const Array& array = at(address, who);
  const auto offset = static_cast<const std::byte*>(address) - array.bytes;
  const bool inside = offset >= 0 && static_cast<std::size_t>(offset) + size <= array.size;
  if (inside && static_cast<std::size_t>(offset) % alignment == 0) return array;
  throw Error(name_of(who) + ": " + std::to_string(size) + " bytes at byte " +
              std::to_string(offset) + " of " + array.name + ", which has " +
              std::to_string(array.size) +
              (inside ? ": not aligned to " + std::to_string(alignment) : ": outside"));
}

void DeviceMemory::check_load(const void* from, std::size_t size, std::size_t alignment,
                              Toucher who) const {
  const Array& array = check(from, size, alignment, who);
  if (array.writers.empty()) return;
  const auto* first = array.writers.data() + (static_cast<const std::byte*>(from) - array.bytes);
  for (std::size_t i = 0; i < size; ++i) {
    if (first[i] == 0 || first[i] == who.block + 1) continue;
    throw Error(name_of(who) + ": reads from " + array.name + " what block " +
                std::to_string(first[i] - 1) + " writes");
  }
}

void DeviceMemory::check_store(const void* to, std::size_t size, std::size_t alignment,
                               Toucher who) {
  const Array& array = check(to, size, alignment, who);
  if (array.writers.empty()) {
    throw Error(name_of(who) + ": writes to " + array.name + ", a constant");
  }
  auto* first = arrays_.at(reinterpret_cast<std::uintptr_t>(array.bytes)).writers.data() +
                (static_cast<std::byte*>(const_cast<void*>(to)) - array.bytes);
  for (std::size_t i = 0; i < size; ++i) {
    if (first[i] != 0 && first[i] != who.block + 1) {
      throw Error(name_of(who) + ": writes to " + array.name + " where block " +
                  std::to_string(first[i] - 1) + " writes");
    }
    first[i] = who.block + 1;
  }
}

void DeviceMemory::begin_launch() {
  for (auto& [place, array] : arrays_) std::ranges::fill(array.writers, 0u);
}

std::vector<std::byte> DeviceMemory::snapshot() const {
  std::vector<std::byte> all;
  for (const auto& [place, array] : arrays_) {
    if (!array.writers.empty()) all.insert(all.end(), array.bytes, array.bytes + array.size);
  }
  return all;
}

void DeviceMemory::restore(const std::vector<std::byte>& bytes) {
  auto next = bytes.begin();
  for (auto& [place, array] : arrays_) {
    if (array.writers.empty()) continue;
    std::copy_n(next, array.size, array.bytes);
    next += static_cast<std::ptrdiff_t>(array.size);
  }
}

}  // namespace lockstep::kernels::cuda

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

void* DeviceMemory::add(std::size_t bytes, std::string name) {
  return allocate(bytes, true, std::move(name));
}

void DeviceMemory::map(void* first, std::size_t bytes, std::string name) {
  arrays_.emplace(reinterpret_cast<std::uintptr_t>(first),
                  Array{std::move(name), bytes, nullptr, static_cast<std::byte*>(first),
                        std::vector<std::uint32_t>(bytes, 0)});
}

void DeviceMemory::rename(const void* first, std::string name) {
  array_at(first).name = std::move(name);
}

void DeviceMemory::remove(const void* first) {
  arrays_.erase(reinterpret_cast<std::uintptr_t>(first));
}

void DeviceMemory::protect(const void* first) { array_at(first).writers.clear(); }

void DeviceMemory::check_copy(const void* address, std::size_t bytes, const char* what) const {
  try {
    check(address, bytes, 1, {});
  } catch (const Error& error) {
    throw Error(std::string("copy of '") + what + "': " + error.what());
  }
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
  if (requires_waiting_ && !who.waited) {
    throw Error(name_of(who) + ": reads from " + array.name +
                " before it waits for earlier kernels");
  }
  const auto* first = array.writers.data() + (static_cast<const std::byte*>(from) - array.bytes);
  for (std::size_t i = 0; i < size; ++i) {
    if (first[i] <= launch_ || first[i] == launch_ + who.block + 1) continue;
    throw Error(name_of(who) + ": reads from " + array.name + " what block " +
                std::to_string(first[i] - launch_ - 1) + " writes");
  }
}

bool DeviceMemory::check_store(const void* to, std::size_t size, std::size_t alignment,
                               Toucher who) {
  const Array& array = check(to, size, alignment, who);
  if (requires_waiting_ && !who.waited) {
    throw Error(name_of(who) + ": writes to " + array.name +
                " before it waits for earlier kernels");
  }
  if (array.writers.empty()) {
    throw Error(name_of(who) + ": writes to " + array.name + ", a constant");
  }
  const std::uint32_t writer = launch_ + who.block + 1;
  auto* first = array_at(array.bytes).writers.data() +
                (static_cast<std::byte*>(const_cast<void*>(to)) - array.bytes);
  for (std::size_t i = 0; i < size; ++i) {
    if (first[i] > launch_ && first[i] != writer) {
      throw Error(name_of(who) + ": writes to " + array.name + " where block " +
                  std::to_string(first[i] - launch_ - 1) + " writes");
    }
    first[i] = writer;
  }
  last_writer_ = std::max(last_writer_, writer);
  return array.memory != nullptr;
}

void DeviceMemory::begin_launch() {
  constexpr std::uint32_t kMany = 1u << 31;  // a launch has fewer blocks
  if (last_writer_ >= kMany) {
    for (auto& [place, array] : arrays_) std::ranges::fill(array.writers, 0u);
    last_writer_ = 0;
  }
  launch_ = last_writer_;
}

std::vector<std::byte> DeviceMemory::snapshot() const {
  std::vector<std::byte> all;
  for (const auto& [place, array] : arrays_) {
    if (array.is_own_variable()) all.insert(all.end(), array.bytes, array.bytes + array.size);
  }
  return all;
}

void DeviceMemory::restore(const std::vector<std::byte>& bytes) {
  auto next = bytes.begin();
  for (auto& [place, array] : arrays_) {
    if (!array.is_own_variable()) continue;
    std::copy_n(next, array.size, array.bytes);
    next += static_cast<std::ptrdiff_t>(array.size);
  }
}

}  // namespace lockstep::kernels::cuda

// The global memory of the GPU that tests put in the place of one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace lockstep::kernels::cuda {

// Which thread touches memory, for checks and for what errors say.
struct Toucher {
  std::uint32_t block = 0;  // counted from 0 in a launch
  int thread = 0;
  bool waited = true;  // for earlier kernels, if it began before they ended
};

// Arrays as cudaMalloc gives them (aligned to 256 bytes), between margins. Every access of a kernel
// is checked against them: its bounds, its alignment, writes to what is read only, and bytes that a
// block writes and another one reads or writes in the same launch.
class DeviceMemory {
 public:
  // An array that kernels read. Named in errors by `name`.
  template <class T>
  const T* constant(const std::vector<T>& values, std::string name) {
    return array<T>(values.data(), values.size(), false, std::move(name));
  }
  // An array that kernels read and write.
  template <class T>
  T* variable(const std::vector<T>& values, std::string name) {
    return array<T>(values.data(), values.size(), true, std::move(name));
  }
  // The same with all bytes 0xff: not a number, and no index.
  template <class T>
  T* blank(std::size_t count, std::string name) {
    return array<T>(nullptr, count, true, std::move(name));
  }

  // An array of `bytes` bytes, all 0xff, that kernels read and write, and its end: what is read or
  // written there afterwards is an error again. REQUIRES: `first` is what add() gave, of this
  // memory.
  void* add(std::size_t bytes, std::string name);
  // Memory that lies elsewhere, another rank's or the host's, and that kernels read and write as
  // well. remove() ends that.
  void map(void* first, std::size_t bytes, std::string name);
  void rename(const void* first, std::string name);
  void remove(const void* first);
  // From now on kernels only read the array.
  void protect(const void* first);

  // From now on who has not waited for earlier kernels may only read what is read only.
  void require_waiting() { requires_waiting_ = true; }

  // `bytes` bytes that a copy reads or writes. Throws Error naming `what` unless they lie in an
  // array.
  void check_copy(const void* address, std::size_t bytes, const char* what) const;

  // The values of an array, of which `first` is the first.
  template <class T>
  std::vector<T> values(const T* first) const {
    const Array& array = at(first, {});
    const auto* begin = reinterpret_cast<const T*>(array.bytes);
    return {begin, begin + array.size / sizeof(T)};
  }

  // Throw Error naming the array, the place and the thread unless the access is right.
  void check_load(const void* from, std::size_t size, std::size_t alignment, Toucher who) const;
  // Whether the memory is this one's own, and not mapped.
  bool check_store(const void* to, std::size_t size, std::size_t alignment, Toucher who);

  // Forgets who wrote what: a new launch.
  void begin_launch();

  // The bytes of all own variable arrays, to compare or to put back.
  std::vector<std::byte> snapshot() const;
  void restore(const std::vector<std::byte>& bytes);

 private:
  struct Array {
    std::string name;
    std::size_t size;
    std::unique_ptr<std::byte[]> memory;  // null: mapped
    std::byte* bytes;                     // inside memory
    // Of each byte: launch_ + 1 + the block that wrote it; up to launch_: of none in this launch.
    // Empty: read only.
    std::vector<std::uint32_t> writers;

    bool is_own_variable() const { return memory != nullptr && !writers.empty(); }
  };

  template <class T>
  T* array(const T* values, std::size_t count, bool writable, std::string name) {
    auto* bytes = allocate(count * sizeof(T), writable, std::move(name));
    if (values != nullptr && count > 0) std::memcpy(bytes, values, count * sizeof(T));
    return reinterpret_cast<T*>(bytes);
  }
  std::byte* allocate(std::size_t size, bool writable, std::string name);
  // The array that `address` lies in, or in whose margins.
  const Array& at(const void* address, Toucher who) const;
  const Array& check(const void* address, std::size_t size, std::size_t alignment,
                     Toucher who) const;

  Array& array_at(const void* first) { return arrays_.at(reinterpret_cast<std::uintptr_t>(first)); }

  std::map<std::uintptr_t, Array> arrays_;  // by their first byte
  bool requires_waiting_ = false;
  std::uint32_t launch_ = 0;       // all that `writers` has of earlier launches is not above
  std::uint32_t last_writer_ = 0;  // the largest number in `writers`
};

}  // namespace lockstep::kernels::cuda

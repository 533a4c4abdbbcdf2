// A piece of POSIX shared memory.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace lockstep::comm {

// Mapped while it lives. The creator's destructor removes the name if remove_name() has not.
class SharedMemory {
 public:
  // Creates `bytes` zero bytes under `name` ("/..."), readable by this user alone, and reserves
  // the memory: a full /dev/shm is an error here and not a signal later. Throws Error.
  static SharedMemory create(const std::string& name, std::size_t bytes);

  // Maps what another process creates under `name`, waiting for it until `deadline`. Throws Error;
  // also when it belongs to another user or has another size.
  static SharedMemory open(const std::string& name, std::size_t bytes,
                           std::chrono::steady_clock::time_point deadline);

  SharedMemory(SharedMemory&& other) noexcept;
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  ~SharedMemory();

  std::byte* data() const { return data_; }

  // Nobody can map it from now on; those who have keep it.
  void remove_name();

 private:
  SharedMemory(std::string name, std::byte* data, std::size_t bytes, bool named);

  std::string name_;
  std::byte* data_;
  std::size_t bytes_;
  bool named_;  // it is on this object to remove the name
};

}  // namespace lockstep::comm

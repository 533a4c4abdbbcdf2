#include "comm/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <thread>
#include <utility>

#include "base/error.h"

namespace lockstep::comm {
namespace {

constexpr std::chrono::milliseconds kRetryInterval{1};

[[noreturn]] void fail(const std::string& name, const std::string& what, int error) {
  throw Error("shared memory '" + name + "': " + what + ": " + std::strerror(error));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

std::byte* map(const std::string& name, int fd, std::size_t bytes) {
  void* data = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (data == MAP_FAILED) fail(name, "cannot map " + std::to_string(bytes) + " bytes", errno);
  return static_cast<std::byte*>(data);
}

// Whether the creator is done with its size. Throws when this can never be the right one.
bool is_complete(const std::string& name, int fd, std::size_t bytes) {
  struct stat status;
  if (fstat(fd, &status) != 0) fail(name, "cannot ask for its size", errno);
  if (status.st_uid != geteuid()) throw Error("shared memory '" + name + "': of another user");
  const auto size = static_cast<std::size_t>(status.st_size);
  if (size > bytes) {
    throw Error("shared memory '" + name + "': has " + std::to_string(size) +
                " bytes where this rank expects " + std::to_string(bytes));
  }
  return size == bytes;
}

}  // namespace

SharedMemory::SharedMemory(std::string name, std::byte* data, std::size_t bytes, bool named)
    : name_(std::move(name)), data_(data), bytes_(bytes), named_(named) {}

SharedMemory::SharedMemory(SharedMemory&& other) noexcept
    : name_(std::move(other.name_)),
      data_(std::exchange(other.data_, nullptr)),
      bytes_(other.bytes_),
      named_(std::exchange(other.named_, false)) {}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(named_, other.named_);
  return *this;
}

SharedMemory::~SharedMemory() {
  if (data_ != nullptr) munmap(data_, bytes_);
  remove_name();
}

void SharedMemory::remove_name() {
  if (std::exchange(named_, false)) shm_unlink(name_.c_str());
}

SharedMemory SharedMemory::create(const std::string& name, std::size_t bytes) {
  const Descriptor file(shm_open(name.c_str(), O_RDWR | O_CREAT | O_EXCL, 0600));
  if (file.get() < 0) fail(name, "cannot create", errno);
  SharedMemory memory(name, nullptr, bytes, true);  // removes the name if anything below fails
  if (const int error = posix_fallocate(file.get(), 0, static_cast<off_t>(bytes))) {
    fail(name, "cannot reserve " + std::to_string(bytes) + " bytes", error);
  }
  memory.data_ = map(name, file.get(), bytes);
  return memory;
}

SharedMemory SharedMemory::open(const std::string& name, std::size_t bytes,
                                std::chrono::steady_clock::time_point deadline) {
  for (;;) {
    {
      const Descriptor file(shm_open(name.c_str(), O_RDWR, 0));
      if (file.get() < 0 && errno != ENOENT) fail(name, "cannot open", errno);
      if (file.get() >= 0 && is_complete(name, file.get(), bytes)) {
        return SharedMemory(name, map(name, file.get(), bytes), bytes, false);
      }
    }
    if (std::chrono::steady_clock::now() >= deadline) {
      throw Error("shared memory '" + name + "': rank 0 has not created it in time");
    }
    std::this_thread::sleep_for(kRetryInterval);
  }
}

}  // namespace lockstep::comm

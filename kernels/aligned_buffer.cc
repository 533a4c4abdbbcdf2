#include "kernels/aligned_buffer.h"

#include <sys/mman.h>

#include <string>

#include "base/error.h"

namespace lockstep::kernels {

AlignedBuffer::AlignedBuffer(std::size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw Error("the system has no " + std::to_string(bytes) + " bytes of memory left");
  }
  madvise(memory, bytes, MADV_HUGEPAGE);
  data_ = memory;
}

AlignedBuffer::~AlignedBuffer() {
  if (data_ != nullptr) munmap(data_, size_);
}

}  // namespace lockstep::kernels

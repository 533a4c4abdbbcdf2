#include "kernels/aligned_buffer.h"

#include <sys/mman.h>

#include <cstdint>
#include <string>

#include "base/error.h"

namespace lockstep::kernels {
namespace {

constexpr std::size_t kPage = 4096;
constexpr std::size_t kHugePage = std::size_t{2} << 20;

}  // namespace

AlignedBuffer::AlignedBuffer(std::size_t bytes) : size_(bytes) {
  if (bytes == 0) return;
  // Large buffers begin at a huge page: what is mapped around them is given back.
  const std::size_t slack = bytes < kHugePage ? 0 : kHugePage;
  const std::size_t whole = (bytes + slack + kPage - 1) / kPage * kPage;
  void* memory = mmap(nullptr, whole, PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) {
    throw Error("the system has no " + std::to_string(bytes) + " bytes of memory left");
  }
  auto* begin = static_cast<std::byte*>(memory);
  std::byte* const end = begin + whole;
  if (slack > 0) {
    const std::size_t before = -reinterpret_cast<std::uintptr_t>(begin) % kHugePage;
    if (before > 0) munmap(begin, before);
    begin += before;
    std::byte* const last = begin + (bytes + kPage - 1) / kPage * kPage;
    if (last < end) munmap(last, static_cast<std::size_t>(end - last));
  }
  madvise(begin, bytes, MADV_HUGEPAGE);
  data_ = begin;
}

AlignedBuffer::~AlignedBuffer() {
  if (data_ != nullptr) munmap(data_, size_);
}

}  // namespace lockstep::kernels

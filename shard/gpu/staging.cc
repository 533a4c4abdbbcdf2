#include "shard/gpu/staging.h"

#include <algorithm>
#include <cstring>

namespace lockstep::shard {
namespace {

constexpr char kLabel[] = "weights on their way";

}  // namespace

Staging::Staging(kernels::cuda::Gpu& gpu, std::size_t bytes)
    : gpu_(gpu),
      buffers_{gpu.pinned_memory().allocate(kLabel, bytes),
               gpu.pinned_memory().allocate(kLabel, bytes)} {}

std::span<std::byte> Staging::buffer() const {
  return {static_cast<std::byte*>(buffers_[turn_].data()), buffers_[turn_].size()};
}

void Staging::send(void* to, std::size_t bytes) {
  gpu_.synchronize(kLabel);  // the copy from the other buffer, while this one was filled
  gpu_.upload(to, buffer().first(bytes), kLabel);
  turn_ = 1 - turn_;
}

void Staging::send_all(void* to, std::span<const std::byte> from) {
  for (std::size_t at = 0; at < from.size();) {
    const auto bytes = std::min(from.size() - at, buffer().size());
    std::memcpy(buffer().data(), from.data() + at, bytes);
    send(static_cast<std::byte*>(to) + at, bytes);
    at += bytes;
  }
}

void Staging::finish() { gpu_.synchronize(kLabel); }

}  // namespace lockstep::shard

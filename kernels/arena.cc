#include "kernels/arena.h"

#include <algorithm>

namespace lockstep::kernels {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{64} << 20;  // only what is touched takes memory
constexpr std::size_t kAlignment = 64;

}  // namespace

std::byte* Arena::allocate(std::size_t bytes) {
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (chunks_.empty() || used_ + bytes > chunks_.back().size()) {
    chunks_.emplace_back(std::max(bytes, kChunkBytes));
    used_ = 0;
  }
  std::byte* piece = chunks_.back().as<std::byte>() + used_;
  used_ += bytes;
  return piece;
}

}  // namespace lockstep::kernels

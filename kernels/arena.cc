#include "kernels/arena.h"

#include <algorithm>

namespace lockstep::kernels {
namespace {

constexpr std::size_t kChunkBytes = std::size_t{64} << 20;  // only what is touched takes memory
constexpr std::size_t kAlignment = 64;

}  // namespace

std::byte* Arena::allocate(std::size_t bytes) {
  bytes = (bytes + kAlignment - 1) / kAlignment * kAlignment;
  if (chunks_.empty() || chunks_.back().used + bytes > chunks_.back().memory.size()) {
    chunks_.push_back({AlignedBuffer(std::max(bytes, kChunkBytes)), 0});
  }
  Chunk& chunk = chunks_.back();
  std::byte* piece = chunk.memory.as<std::byte>() + chunk.used;
  chunk.used += bytes;
  return piece;
}

std::vector<std::span<std::byte>> Arena::contents() {
  std::vector<std::span<std::byte>> runs;
  for (Chunk& chunk : chunks_) runs.emplace_back(chunk.memory.as<std::byte>(), chunk.used);
  return runs;
}

}  // namespace lockstep::kernels

// Memory for many weight matrices, side by side.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "kernels/aligned_buffer.h"

namespace lockstep::kernels {

// Hands out zeroed pieces of a few large buffers. Matrices smaller than a huge page would each lie
// in small pages; side by side they share huge ones. Pieces live as long as the arena, and do not
// move with it.
class Arena {
 public:
  // `bytes` zeroed bytes, aligned to a cache line. Throws Error naming the size when the system
  // refuses.
  std::byte* allocate(std::size_t bytes);

  // All that was handed out, in that order: a few long runs. The same calls give the same runs.
  std::vector<std::span<std::byte>> contents();

 private:
  struct Chunk {
    AlignedBuffer memory;
    std::size_t used = 0;
  };
  std::vector<Chunk> chunks_;
};

}  // namespace lockstep::kernels

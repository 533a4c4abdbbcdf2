// Memory for many weight matrices, side by side.
#pragma once

#include <cstddef>
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

 private:
  std::vector<AlignedBuffer> chunks_;
  std::size_t used_ = 0;  // of the last chunk
};

}  // namespace lockstep::kernels

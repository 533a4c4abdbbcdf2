// Copies of many runs of floats at once: rows of logits on their way between ranks.
#pragma once

#include <cstdint>

#include "kernels/cuda/grid.h"

namespace lockstep::kernels::cuda {

// `count` floats from from[from_offset] to to[to_offset].
struct RowPiece {
  std::int64_t from_offset;
  std::int64_t to_offset;
  std::int32_t count;
};

// What is read and what is written do not overlap.
struct CopyRowsArgs {
  const float* from;
  float* to;
  const RowPiece* pieces;  // [count]
  std::int32_t count;
  std::int32_t longest;  // piece
};

inline constexpr int kCopyRowsThreads = 256;

constexpr Grid copy_rows_grid(const CopyRowsArgs& args) {
  constexpr int kOfThread = 8;
  return {.x = args.count,
          .y = divide_up(args.longest, kOfThread * kCopyRowsThreads),
          .threads = kCopyRowsThreads};
}

void launch_copy_rows(const CopyRowsArgs& args, StreamHandle stream);

}  // namespace lockstep::kernels::cuda

// RMSNorm (Zhang and Sennrich, arXiv:1910.07467) of the residual stream, fused with the addition
// of what a block of the model adds to it.
#pragma once

#include <cstdint>

#include "kernels/cuda/grid.h"
#include "kernels/cuda/segment_sum.h"

namespace lockstep::kernels::cuda {

// For every row i below `rows`, with r = row_indices[i]:
//   hidden[r] += update[r];  out[i] = bf16(hidden[r] / sqrt(mean(hidden[r]^2) + eps) * weight)
struct RmsNormArgs {
  float* hidden;                    // [any, columns]
  SegmentSum update;                // of arrays shaped as hidden; nothing if its count is 0
  const float* weight;              // [columns]; null with `out`
  std::uint16_t* out;               // bf16 [rows, columns]; null: hidden alone is wanted
  const std::int32_t* row_indices;  // [rows], all different; null: i itself
  std::int32_t rows;
  std::int32_t columns;  // a multiple of 4
  float eps;
};

// A block a row; its size is part of the order of the sum.
constexpr Grid rms_norm_grid(const RmsNormArgs& args) {
  constexpr int kThreads = 512;
  return {.x = args.rows,
          .threads = kThreads,
          .shared_bytes = kThreads / kWarp * std::int64_t{sizeof(float)}};
}

void launch_rms_norm(const RmsNormArgs& args, StreamHandle stream);

}  // namespace lockstep::kernels::cuda

// The activation of a SwiGLU MLP (Shazeer, arXiv:2002.05202).
#pragma once

#include <cstdint>

#include "kernels/cuda/grid.h"

namespace lockstep::kernels::cuda {

// out = bf16(silu(gate) * up), element by element; silu(g) = g / (1 + e^-g).
struct SwigluArgs {
  const float* gate;    // [rows, columns], rows `stride` apart
  const float* up;      // the same
  std::int64_t stride;  // a multiple of 4
  std::uint16_t* out;   // bf16 [rows, columns]
  std::int32_t rows;
  std::int32_t columns;  // a multiple of 4
};

constexpr Grid swiglu_grid(const SwigluArgs& args) {
  constexpr int kThreads = 256;
  return {.x = args.rows, .y = divide_up(args.columns, 4 * kThreads), .threads = kThreads};
}

void launch_swiglu(const SwigluArgs& args, StreamHandle stream);

}  // namespace lockstep::kernels::cuda

// The activation of a SwiGLU MLP: device code.
#pragma once

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/exponential.cuh"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/swiglu.h"
#include "kernels/half.h"

namespace lockstep::kernels::cuda {

// g * sigmoid(g) with one exponential, and no positive exponent: sigmoid(g) is
// e^min(g, 0) / (1 + e^-|g|).
LOCKSTEP_DEVICE float silu(float g) {
  const float decay = exp_nonpositive(-fabsf(g));
  return g * ((g < 0.0f ? decay : 1.0f) / (1.0f + decay));
}

// What SwiGLU makes of a column of gate and the same of up.
LOCKSTEP_DEVICE std::uint16_t activated(float gate, float up) {
  return float_to_bf16(silu(gate) * up);
}

// Four columns a thread.
template <class Thread>
LOCKSTEP_DEVICE void swiglu(Thread& t, const SwigluArgs& args) {
  const int column = 4 * (t.block_y() * t.count() + t.index());
  if (column >= args.columns) return;
  const std::int64_t row = t.block_x();
  const Pack<float, 4> gate = t.load(as_pack<4>(args.gate + row * args.stride + column));
  const Pack<float, 4> up = t.load(as_pack<4>(args.up + row * args.stride + column));
  Pack<std::uint16_t, 4> out;
  for (int i = 0; i < 4; ++i) out[i] = activated(gate[i], up[i]);
  t.store(as_pack<4>(args.out + row * args.columns + column), out);
}

}  // namespace lockstep::kernels::cuda

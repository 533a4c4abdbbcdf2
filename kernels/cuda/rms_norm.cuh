// RMSNorm with the residual addition: device code.
#pragma once

#include <cmath>

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/rms_norm.h"
#include "kernels/cuda/segment_sum.cuh"
#include "kernels/half.h"

namespace lockstep::kernels::cuda {

// The row of a block.
template <class Thread>
LOCKSTEP_DEVICE std::int64_t row_of(Thread& t, const RmsNormArgs& args) {
  return args.row_indices != nullptr ? t.load(args.row_indices + t.block_x()) : t.block_x();
}

// By one block. `update`: what is added to the row, of arrays in which the row begins at `offset`.
// A thread sums the squares of its own columns in order, and reads back only what it has written
// itself.
template <class Thread>
LOCKSTEP_DEVICE void rms_norm_row(Thread& t, const RmsNormArgs& args, std::int64_t row,
                                  const SegmentSum& update, std::int64_t offset) {
  float* hidden = args.hidden + row * args.columns;
  float squares = 0.0f;
  for (int column = 4 * t.index(); column < args.columns; column += 4 * t.count()) {
    Pack<float, 4> values = t.load(as_pack<4>(hidden + column));
    if (update.count > 0) {
      const Pack<float, 4> added = summed(t, update, offset + column);
      for (int i = 0; i < 4; ++i) values[i] += added[i];
      t.store(as_pack<4>(hidden + column), values);
    }
    for (int i = 0; i < 4; ++i) squares = fmaf(values[i], values[i], squares);
  }
  if (args.out == nullptr) return;
  const float sum = block_sum(t, squares, t.template shared<float>(0, t.count() / kWarp));
  const float inverse = 1.0f / sqrtf(sum / static_cast<float>(args.columns) + args.eps);
  std::uint16_t* out = args.out + std::int64_t{t.block_x()} * args.columns;
  for (int column = 4 * t.index(); column < args.columns; column += 4 * t.count()) {
    const Pack<float, 4> values = t.load(as_pack<4>(hidden + column));
    const Pack<float, 4> weight = t.load(as_pack<4>(args.weight + column));
    Pack<std::uint16_t, 4> rounded;
    for (int i = 0; i < 4; ++i) rounded[i] = float_to_bf16(values[i] * inverse * weight[i]);
    t.store(as_pack<4>(out + column), rounded);
  }
}

// A block a row.
template <class Thread>
LOCKSTEP_DEVICE void rms_norm(Thread& t, const RmsNormArgs& args) {
  const std::int64_t row = row_of(t, args);
  rms_norm_row(t, args, row, args.update, row * args.columns);
}

}  // namespace lockstep::kernels::cuda

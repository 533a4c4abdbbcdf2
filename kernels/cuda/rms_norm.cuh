// RMSNorm with the residual addition: device code.
#pragma once

#include <cmath>
#include <type_traits>

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

// Of the columns of a row that a thread has, `kPacks` packs at a time: a strip. Pack k of a strip
// that begins at `begin` is at begin + k * step.
template <int kPacks>
struct NormStrip {
  int begin, step, columns;

  LOCKSTEP_DEVICE bool has(int k) const { return begin + k * step < columns; }

  template <class T, class Thread>
  LOCKSTEP_DEVICE void load(Thread& t, const T* row, Pack<T, 4> (&packs)[kPacks]) const {
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      if (has(k)) packs[k] = t.load(as_pack<4>(row + begin + k * step));
    }
  }
  template <class T, class Thread>
  LOCKSTEP_DEVICE void store(Thread& t, T* row, const Pack<T, 4> (&packs)[kPacks]) const {
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      if (has(k)) t.store(as_pack<4>(row + begin + k * step), packs[k]);
    }
  }
};

// By one block. `update`: what is added to the row, of arrays in which the row begins at `offset`.
// A thread sums the squares of its own columns in order. It asks for all of a strip at once, and
// keeps a row of one strip in registers; of a longer one it reads back only what it has written
// itself.
template <int kPacks, class Thread>
LOCKSTEP_DEVICE void rms_norm_row(Thread& t, const RmsNormArgs& args, std::int64_t row,
                                  const SegmentSum& update, std::int64_t offset) {
  float* hidden = args.hidden + row * args.columns;
  NormStrip<kPacks> strip{4 * t.index(), 4 * t.count(), args.columns};
  const int first = strip.begin, size = kPacks * strip.step;
  Pack<float, 4> values[kPacks];
  float squares = 0.0f;
  for (; strip.begin < args.columns; strip.begin += size) {
    strip.load(t, hidden, values);
    if (update.count > 0) {
      Pack<float, 4> added[kPacks];
      sum_packs(t, update, offset + strip.begin, strip.step, offset + args.columns, added);
#pragma unroll
      for (int k = 0; k < kPacks; ++k) {
        for (int i = 0; strip.has(k) && i < 4; ++i) values[k][i] += added[k][i];
      }
      strip.store(t, hidden, values);
    }
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      for (int i = 0; strip.has(k) && i < 4; ++i) {
        squares = fmaf(values[k][i], values[k][i], squares);
      }
    }
  }
  if (args.out == nullptr) return;
  strip.begin = first;
  Pack<float, 4> weight[kPacks];
  strip.load(t, args.weight, weight);  // on their way while the block meets
  const float sum = block_sum(t, squares, t.template shared<float>(0, t.count() / kWarp));
  const float inverse = 1.0f / sqrtf(sum / static_cast<float>(args.columns) + args.eps);
  std::uint16_t* out = args.out + std::int64_t{t.block_x()} * args.columns;
  for (; strip.begin < args.columns; strip.begin += size) {
    if (args.columns > size) {
      strip.load(t, hidden, values);
      strip.load(t, args.weight, weight);
    }
    Pack<std::uint16_t, 4> rounded[kPacks];
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      for (int i = 0; strip.has(k) && i < 4; ++i) {
        rounded[k][i] = float_to_bf16(values[k][i] * inverse * weight[k][i]);
      }
    }
    strip.store(t, out, rounded);
  }
}

// A block a row. What no kernel writes is asked for before earlier ones are waited for.
template <int kPacks, class Thread>
LOCKSTEP_DEVICE void rms_norm(Thread& t, const RmsNormArgs& args) {
  if (args.weight != nullptr && t.block_x() == 0 && t.index() == 0) {
    t.prefetch(reinterpret_cast<const std::byte*>(args.weight),
               static_cast<std::uint32_t>(args.columns) * std::uint32_t{sizeof(float)});
  }
  t.wait_for_earlier();
  const std::int64_t row = row_of(t, args);
  rms_norm_row<kPacks>(t, args, row, args.update, row * args.columns);
}

// body(packs) with the packs of a strip as a compile-time number: a row of up to 8 Ki columns is
// one strip.
template <class Body>
void with_norm_packs(const RmsNormArgs& args, const Body& body) {
  if (args.columns <= 2 * 4 * rms_norm_grid(args).threads) {
    return body(std::integral_constant<int, 2>{});
  }
  body(std::integral_constant<int, 4>{});
}

}  // namespace lockstep::kernels::cuda

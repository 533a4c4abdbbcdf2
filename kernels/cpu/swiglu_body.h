// The two products into a SwiGLU MLP (Shazeer, arXiv:2002.05202) and its activation, for every
// family S: a tile's sums go from registers into 4 KiB of stack and leave rounded.
#pragma once

#include <algorithm>

#include "kernels/cpu/elementwise_body.h"
#include "kernels/cpu/linear_body.h"

namespace lockstep::kernels::cpu {

// Writes `rows` rows of one group of 32 columns in the forms asked for.
template <class S>
void write_group(const SwigluCall& call, float* inner, std::int64_t row, std::int64_t rows,
                 std::int64_t group) {
  const std::int64_t column = group * kGroup;
  ActivationRows out = call.out;
  if (call.out_f32) {
    for (std::int64_t i = 0; i < rows; ++i) {
      std::copy_n(inner + i * kGroup, kGroup, out.values + (row + i) * out.stride + column);
    }
  }
  out.values = inner;
  out.stride = kGroup;
  if (call.out_bf16) {
    out.halves += row * out.half_stride + column;
    round_rows<S>(out, rows, kGroup);
  }
  if (call.out_int8) {
    out.bytes.values += row * out.bytes.value_stride + column;
    const std::int64_t first = row * out.bytes.group_stride + group;
    out.bytes.scales += first;
    out.bytes.offsets += first;
    out.bytes.biases += first;
    quantize_rows<S>(out, rows, kGroup);
  }
}

template <class S, class Q4, class Q8>
void swiglu(const SwigluCall& call) {
  LinearCall gate = call.gate;
  gate.row_stride = kGroup;
  LinearCall up = gate;
  up.weights = call.up;
  up.activations = call.up_activations;
  const TileRunner run_gate = tile_runner<S, Q4, Q8>(gate);
  const TileRunner run_up = tile_runner<S, Q4, Q8>(up);
  alignas(64) float gates[S::kTileRows * kGroup];
  alignas(64) float ups[S::kTileRows * kGroup];
  walk_tiles<S>(gate, call.group_begin, call.group_end,
                [&](std::int64_t group, std::int64_t row, std::int64_t rows) {
                  for (std::int64_t half = 0; half < kGroup / kRowBlock; ++half) {
                    const std::int64_t block = group * (kGroup / kRowBlock) + half;
                    run_gate(gate, row, rows, block, gates + half * kRowBlock);
                    run_up(up, row, rows, block, ups + half * kRowBlock);
                  }
                  silu_mul<S>(gates, ups, rows * kGroup, gates);
                  write_group<S>(call, gates, row, rows, group);
                });
}

}  // namespace lockstep::kernels::cpu

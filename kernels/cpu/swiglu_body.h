// The two products into a SwiGLU MLP (Shazeer, arXiv:2002.05202) and its activation, for every
// family S: a tile's sums go from registers into 4 KiB of stack and leave rounded.
#pragma once

#include <algorithm>

#include "kernels/cpu/elementwise_body.h"
#include "kernels/cpu/linear_body.h"

namespace lockstep::kernels::cpu {

// Groups times rows whose sums wait together: their activation then works on enough independent
// values to hide its latency, and they take 4 KiB.
inline constexpr std::int64_t kInnerTile = 16;

// Writes `rows` rows of some groups of 32 columns in the forms asked for.
template <class S>
void write_groups(const SwigluCall& call, float* inner, std::int64_t row, std::int64_t rows,
                  std::int64_t group, std::int64_t groups) {
  const std::int64_t column = group * kGroup;
  const std::int64_t columns = groups * kGroup;
  ActivationRows out = call.out;
  if (call.out_f32) {
    for (std::int64_t i = 0; i < rows; ++i) {
      std::copy_n(inner + i * columns, columns, out.values + (row + i) * out.stride + column);
    }
  }
  out.values = inner;
  out.stride = columns;
  if constexpr (requires { tile_rows<S>(out, rows, columns); }) {
    if (call.out_tiles) {
      out.tiles.values += row / kTileTokens * out.tiles.row_stride + group * kTileTokens * kGroup;
      tile_rows<S>(out, rows, columns);
    }
  }
  if (call.out_bf16) {
    out.halves += row * out.half_stride + column;
    out.half_sums += row * out.bytes.group_stride + group;
    round_rows<S>(out, rows, columns);
  }
  if (call.out_int8) {
    out.bytes.values += row * out.bytes.value_stride + column;
    const std::int64_t first = row * out.bytes.group_stride + group;
    out.bytes.scales += first;
    out.bytes.offsets += first;
    out.bytes.biases += first;
    quantize_rows<S>(out, rows, columns);
  }
}

// The sums of some rows and groups.
template <class S, class Q4, class Q8>
class SwigluTile {
 public:
  explicit SwigluTile(const SwigluCall& call) : call_(call), gate_(call.gate), up_(call.gate) {
    up_.weights = call.up;
    up_.activations = call.up_activations;
    run_gate_ = tile_runner<S, Q4, Q8>(gate_);
    run_up_ = tile_runner<S, Q4, Q8>(up_);
  }

  void run(std::int64_t row, std::int64_t rows, std::int64_t group, std::int64_t groups) {
    gate_.row_stride = up_.row_stride = groups * kGroup;
    for (std::int64_t g = 0; g < groups; ++g) {
      const std::int64_t block = (group + g) * (call_.interleaved ? 2 * kHalves : kHalves);
      const std::int64_t up = block + (call_.interleaved ? kHalves : 0);
      multiply(gate_, run_gate_, row, rows, block, gates_ + g * kGroup);
      multiply(up_, run_up_, row, rows, up, ups_ + g * kGroup);
    }
    silu_mul<S>(gates_, ups_, rows * groups * kGroup, gates_);
    write_groups<S>(call_, gates_, row, rows, group, groups);
  }

 private:
  static constexpr std::int64_t kHalves = kGroup / kRowBlock;

  static void multiply(const LinearCall& call, TileRunner run, std::int64_t row, std::int64_t rows,
                       std::int64_t block, float* out) {
    if (takes_wide_tiles<S>(call)) return run_wide<S, kHalves>(call, run, row, rows, block, out);
    for (std::int64_t half = 0; half < kHalves; ++half) {
      run(call, row, rows, block + half, out + half * kRowBlock);
    }
  }

  const SwigluCall& call_;
  LinearCall gate_, up_;
  TileRunner run_gate_, run_up_;
  alignas(64) float gates_[kInnerTile * kGroup];
  alignas(64) float ups_[kInnerTile * kGroup];
};

template <class S, class Q4, class Q8>
void swiglu(const SwigluCall& call) {
  static_assert(S::kTileRows <= kInnerTile);
  SwigluTile<S, Q4, Q8> tile(call);
  const std::int64_t step = std::max<std::int64_t>(kInnerTile / call.gate.m, 1);
  if (step > 1) {  // few rows: one tile of them, and several groups at a time
    for (std::int64_t group = call.group_begin; group < call.group_end; group += step) {
      tile.run(0, call.gate.m, group, std::min(step, call.group_end - group));
    }
    return;
  }
  walk_tiles<S>(call.gate, call.group_begin, call.group_end,
                [&](std::int64_t group, std::int64_t row, std::int64_t rows) {
                  tile.run(row, rows, group, 1);
                });
}

}  // namespace lockstep::kernels::cpu

// The two products into a SwiGLU MLP (Shazeer, arXiv:2002.05202) and its activation, for every
// family S: a tile's sums go from registers into 4 KiB of stack and leave rounded.
#pragma once

#include <algorithm>

#include "kernels/cpu/elementwise_body.h"
#include "kernels/cpu/linear_body.h"
#include "kernels/cpu/quantize_body.h"

namespace lockstep::kernels::cpu {

// Groups times rows whose sums wait together: their activation then works on enough independent
// values to hide its latency, and they take 4 KiB. Of one row, so many of each stream.
inline constexpr std::int64_t kInnerTile = 16;

// Row blocks that a group of 32 columns has in each of both matrices, one after the other, and the
// first of them.
inline constexpr std::int64_t kHalves = kGroup / kRowBlock;
inline std::int64_t gate_block(const SwigluCall& call, std::int64_t group) {
  return group * (call.interleaved ? 2 * kHalves : kHalves);
}
inline std::int64_t up_block(const SwigluCall& call, std::int64_t group) {
  return gate_block(call, group) + (call.interleaved ? kHalves : 0);
}

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
    out.bytes = out.bytes.from(row, column);
    quantize_rows<S>(out, rows, columns);
  }
}

// The sums of some rows and groups.
template <class S, class Q>
class SwigluTile {
 public:
  explicit SwigluTile(const SwigluCall& call) : call_(call), gate_(call.gate), up_(call.gate) {
    up_.weights = call.up;
    up_.activations = call.up_activations;
    run_gate_ = tile_runner<S, Q>(gate_);
    run_up_ = tile_runner<S, Q>(up_);
  }

  void run(std::int64_t row, std::int64_t rows, std::int64_t group, std::int64_t groups) {
    gate_.row_stride = up_.row_stride = groups * kGroup;
    if (gate_.m == 1) {
      visit_together<S::kStreams>(0, groups, [&](const auto& each) { multiply_row(group, each); });
    } else {
      for (std::int64_t g = 0; g < groups; ++g) {
        multiply(gate_, run_gate_, row, rows, gate_block(call_, group + g), gates_ + g * kGroup);
        multiply(up_, run_up_, row, rows, up_block(call_, group + g), ups_ + g * kGroup);
      }
    }
    silu_mul<S>(gates_, ups_, rows * groups * kGroup, gates_);
    write_groups<S>(call_, gates_, row, rows, group, groups);
  }

 private:
  static void multiply(const LinearCall& call, const TileRunner<S>& run, std::int64_t row,
                       std::int64_t rows, std::int64_t block, float* out) {
    if (takes_wide_tiles<S>(call)) return run_wide<S, kHalves>(call, row, rows, block, out);
    for (std::int64_t half = 0; half < kHalves; ++half) {
      run.tiles(call, row, rows, block + half, out + half * kRowBlock);
    }
  }

  // The groups `first` + each[s] of one row.
  template <std::size_t N>
  void multiply_row(std::int64_t first, const std::array<std::int64_t, N>& each) {
    Blocks<N> gates, ups;
    Sums<N> gate_sums, up_sums;
    for (std::size_t s = 0; s < N; ++s) {
      gates[s] = gate_block(call_, first + each[s]);
      ups[s] = up_block(call_, first + each[s]);
      gate_sums[s] = gates_ + each[s] * kGroup;
      up_sums[s] = ups_ + each[s] * kGroup;
    }
    multiply_halves(gate_, run_gate_, gates, gate_sums);
    multiply_halves(up_, run_up_, ups, up_sums);
  }

  template <std::size_t N>
  static void multiply_halves(const LinearCall& call, const TileRunner<S>& run, Blocks<N> blocks,
                              Sums<N> sums) {
    for (std::int64_t half = 0; half < kHalves; ++half) {
      run_row<S>(call, run, blocks, sums);
      for (std::size_t s = 0; s < N; ++s) {
        ++blocks[s];
        sums[s] += kRowBlock;
      }
    }
  }

  const SwigluCall& call_;
  LinearCall gate_, up_;
  TileRunner<S> run_gate_, run_up_;
  alignas(64) float gates_[S::kStreams * kInnerTile * kGroup];
  alignas(64) float ups_[S::kStreams * kInnerTile * kGroup];
};

template <class S, class Q>
void swiglu(const SwigluCall& call) {
  static_assert(S::kTileRows <= kInnerTile);
  SwigluTile<S, Q> tile(call);
  const std::int64_t tiles = call.gate.m == 1 ? S::kStreams : 1;
  const std::int64_t step = std::max<std::int64_t>(tiles * kInnerTile / call.gate.m, 1);
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

// Products x * W^T for every family S: which tiles (product_tiles.h) take which rows and row
// blocks.
#pragma once

#include <algorithm>

#include "kernels/cpu/product_tiles.h"
#include "kernels/cpu/weight_columns.h"

namespace lockstep::kernels::cpu {

// Activations that stay in the first cache while the weights pass.
inline constexpr std::int64_t kPanelBytes = 24 << 10;
// The same for wide tiles, which read each activation less often: from the third cache they come in
// time, and the weights, of more bytes, pass less often.
inline constexpr std::int64_t kWidePanelBytes = 2 << 20;

// The tiles as types.
template <class S, class Q>
struct QuantizedTile {
  template <int MT, std::size_t N>
  static void run(const LinearCall& call, std::int64_t row, const Blocks<N>& blocks,
                  const Sums<N>& outs) {
    quantized_tile<S, Q, MT>(call, row, blocks, outs);
  }
};

template <class S>
struct Bf16Tile {
  template <int MT, std::size_t N>
  static void run(const LinearCall& call, std::int64_t row, const Blocks<N>& blocks,
                  const Sums<N>& outs) {
    bf16_tile<S, MT>(call, row, blocks, outs);
  }
};

template <class S, class I>
struct IntegerBf16Tile {
  template <int MT, std::size_t N>
  static void run(const LinearCall& call, std::int64_t row, const Blocks<N>& blocks,
                  const Sums<N>& outs) {
    integer_bf16_tile<S, I, MT>(call, row, blocks, outs);
  }
};

template <class S, class W>
struct FloatTile {
  template <int MT, std::size_t N>
  static void run(const LinearCall& call, std::int64_t row, const Blocks<N>& blocks,
                  const Sums<N>& outs) {
    float_tile<S, W, MT>(call, row, blocks, outs);
  }
};

// `rows` rows from `row` on, MT at a time, by one row block of the weights. `out` is where the
// first sum goes.
template <class Tile, int MT>
void run_tile(const LinearCall& call, std::int64_t row, std::int64_t rows, std::int64_t block,
              float* out) {
  while (rows >= MT) {
    Tile::template run<MT, 1>(call, row, {block}, {out});
    row += MT;
    rows -= MT;
    out += MT * call.row_stride;
  }
  if constexpr (MT == 4) {  // as two and one they would take as long as four
    if (rows == 3) return Tile::template run<3, 1>(call, row, {block}, {out});
  }
  if constexpr (MT > 1) {
    if (rows > 0) run_tile<Tile, MT / 2>(call, row, rows, block, out);
  }
}

// One row by N row blocks that are read together.
template <class Tile, std::size_t N>
void run_streams(const LinearCall& call, const Blocks<N>& blocks, const Sums<N>& outs) {
  Tile::template run<1, N>(call, 0, blocks, outs);
}

template <class S>
struct TileRunner {
  void (*tiles)(const LinearCall& call, std::int64_t row, std::int64_t rows, std::int64_t block,
                float* out);
  void (*streams)(const LinearCall& call, const Blocks<S::kStreams>& blocks,
                  const Sums<S::kStreams>& outs);
};

// One row by as many row blocks as the family reads together, or by one.
template <class S, std::size_t N>
void run_row(const LinearCall& call, const TileRunner<S>& run, const Blocks<N>& blocks,
             const Sums<N>& outs) {
  if constexpr (N == S::kStreams) {
    run.streams(call, blocks, outs);
  } else {
    static_assert(N == 1);
    run.tiles(call, 0, 1, blocks[0], outs[0]);
  }
}

template <class S, class Tile, int MT>
constexpr TileRunner<S> runner_of() {
  return {run_tile<Tile, MT>, run_streams<Tile, S::kStreams>};
}

template <class S>
TileRunner<S> float_runner(PackedFormat format) {
  constexpr int MT = S::kTileRows;
  switch (format) {
    case PackedFormat::q4: return runner_of<S, FloatTile<S, Q4Columns<S>>, MT>();
    case PackedFormat::q4_0:
      return runner_of<S, FloatTile<S, ScaledColumns<S, ScaledQ4Integers<S>>>, MT>();
    case PackedFormat::q8: return runner_of<S, FloatTile<S, ScaledColumns<S, Q8Integers<S>>>, MT>();
    case PackedFormat::f8: return runner_of<S, FloatTile<S, F8Columns<S>>, MT>();
    case PackedFormat::bf16: return runner_of<S, FloatTile<S, Bf16Columns<S>>, MT>();
    case PackedFormat::f16: return runner_of<S, FloatTile<S, F16Columns<S>>, MT>();
    case PackedFormat::f32: break;
  }
  return runner_of<S, FloatTile<S, F32Columns<S>>, MT>();
}

template <class S>
TileRunner<S> bf16_runner(PackedFormat format) {
  constexpr int MT = S::kTileRows;
  switch (format) {
    case PackedFormat::q4: return runner_of<S, IntegerBf16Tile<S, Q4Integers<S>>, MT / 2>();
    case PackedFormat::q4_0: return runner_of<S, IntegerBf16Tile<S, ScaledQ4Integers<S>>, MT / 2>();
    case PackedFormat::q8: return runner_of<S, IntegerBf16Tile<S, Q8Integers<S>>, MT / 2>();
    case PackedFormat::f8: return runner_of<S, IntegerBf16Tile<S, F8Numbers<S>>, MT / 2>();
    default: return runner_of<S, Bf16Tile<S>, MT>();
  }
}

// Q has the family's integer dot products: Q::Q4, Q::ScaledQ4 and Q::Q8.
template <class S, class Q>
TileRunner<S> tile_runner(const LinearCall& call) {
  constexpr int MT = S::kTileRows;
  switch (call.activations) {
    case ActivationFormat::f32: return float_runner<S>(call.weights->format());
    case ActivationFormat::bf16: return bf16_runner<S>(call.weights->format());
    case ActivationFormat::int8: break;
  }
  switch (call.weights->format()) {
    case PackedFormat::q4: return runner_of<S, QuantizedTile<S, typename Q::Q4>, MT>();
    case PackedFormat::q4_0: return runner_of<S, QuantizedTile<S, typename Q::ScaledQ4>, MT>();
    default: return runner_of<S, QuantizedTile<S, typename Q::Q8>, MT>();
  }
}

template <class S>
std::int64_t row_bytes(const LinearCall& call) {
  switch (call.activations) {
    case ActivationFormat::f32: return call.x.stride * std::int64_t{sizeof(float)};
    case ActivationFormat::bf16: return call.x.half_stride * std::int64_t{sizeof(std::uint16_t)};
    case ActivationFormat::int8: break;
  }
  return call.x.bytes.value_stride;
}

// Rows of bytes that other threads have written come from their cores' caches: asked for all at
// once, they come side by side. (Rows in bf16, which wide tiles read, gain nothing by it.)
inline void ask_for_rows(const LinearCall& call, std::int64_t first, std::int64_t last) {
  if (call.activations != ActivationFormat::int8) return;
  const std::int64_t bytes = call.weights->columns();
  for (std::int64_t row = first; row < last; ++row) {
    const std::int8_t* values = call.x.bytes.values + row * call.x.bytes.value_stride;
    for (std::int64_t line = 0; line < bytes; line += 64) __builtin_prefetch(values + line, 0, 2);
  }
}

// Calls visit(unit, row, rows) for all tiles: units of weights [begin, end) by tiles of rows. Rows
// are taken in panels of kBytes, which stay in a cache while all the weights pass.
template <class S, std::int64_t kBytes = kPanelBytes, class Visit>
void walk_tiles(const LinearCall& call, std::int64_t begin, std::int64_t end, const Visit& visit) {
  constexpr std::int64_t MT = S::kTileRows;
  const std::int64_t panel = std::max<std::int64_t>(kBytes / row_bytes<S>(call) / MT, 1) * MT;
  for (std::int64_t first = 0; first < call.m; first += panel) {
    const std::int64_t last = std::min(first + panel, call.m);
    ask_for_rows(call, first, last);
    for (std::int64_t unit = begin; unit < end; ++unit) {
      for (std::int64_t row = first; row < last; row += MT) {
        visit(unit, row, std::min(MT, last - row));
      }
    }
  }
}

// bf16 products of two rows and more take several row blocks side by side: the sums of a few rows
// by one block are fewer than the dot products that a core has under way.
inline constexpr int kWideTileRows = 8;
inline constexpr int kWideBlocks = 3;

template <class S>
bool takes_wide_tiles(const LinearCall& call) {
  return S::kTileRows == 16 && call.m > 1 && call.activations == ActivationFormat::bf16 &&
         call.weights->format() == PackedFormat::bf16;
}

// `rows` rows from `row` on by NB row blocks, MT at a time, and one tile of what is left.
template <class S, int NB, int MT = kWideTileRows>
void run_wide(const LinearCall& call, std::int64_t row, std::int64_t rows, std::int64_t block,
              float* out) {
  for (; rows >= MT; rows -= MT, row += MT, out += MT * call.row_stride) {
    bf16_wide_tile<S, MT, NB>(call, row, block, out);
  }
  if constexpr (MT > 1) {
    if (rows > 0) run_wide<S, NB, MT - 1>(call, row, rows, block, out);
  }
}

template <class S>
void linear_wide(const LinearCall& call, const TileRunner<S>& run) {
  constexpr int NB = kWideBlocks;
  const std::int64_t units = (call.block_end - call.block_begin + NB - 1) / NB;
  walk_tiles<S, kWidePanelBytes>(
      call, 0, units, [&](std::int64_t unit, std::int64_t row, std::int64_t rows) {
        const std::int64_t block = call.block_begin + unit * NB;
        float* out = call.out + row * call.row_stride + block * kRowBlock;
        if (block + NB <= call.block_end) {
          return run_wide<S, NB>(call, row, rows, block, out);
        }
        for (std::int64_t i = 0; block + i < call.block_end; ++i) {
          run.tiles(call, row, rows, block + i, out + i * kRowBlock);
        }
      });
}

template <class S, class Q>
void linear(const LinearCall& call) {
  const TileRunner<S> run = tile_runner<S, Q>(call);
  if (call.m == 1) {
    return visit_together<S::kStreams>(call.block_begin, call.block_end,
                                       [&]<std::size_t N>(const Blocks<N>& blocks) {
                                         Sums<N> outs;
                                         for (std::size_t s = 0; s < N; ++s)
                                           outs[s] = call.out + blocks[s] * kRowBlock;
                                         run_row<S>(call, run, blocks, outs);
                                       });
  }
  if (takes_wide_tiles<S>(call)) return linear_wide<S>(call, run);
  walk_tiles<S>(call, call.block_begin, call.block_end,
                [&](std::int64_t block, std::int64_t row, std::int64_t rows) {
                  float* out = call.out + row * call.row_stride + block * kRowBlock;
                  run.tiles(call, row, rows, block, out);
                });
}

}  // namespace lockstep::kernels::cpu

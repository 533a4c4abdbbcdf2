// Products x * W^T for every family S, in row blocks of 16 outputs. The sum over K is sequential
// within a lane (kernels/lanes.h), whatever the number of rows: no tile size, thread or batch moves
// a bit.
#pragma once

#include <algorithm>

#include "kernels/cpu/kernel_table.h"

namespace lockstep::kernels::cpu {

// Activations that stay in a near cache while the weights pass.
inline constexpr std::int64_t kPanelBytes = 48 << 10;
// The same for wide tiles, which read each activation less often.
inline constexpr std::int64_t kWidePanelBytes = 256 << 10;
// How far ahead weights are asked for by tiles of few rows.
inline constexpr std::int64_t kPrefetchBytes = 2048;

// Partial sums of one tile of MT rows by 16 outputs, combined as the lane steps say.
template <class S, int MT>
class LaneStack {
 public:
  void push(const typename S::V (&sums)[MT], std::int32_t merges) {
    for (int i = 0; i < MT; ++i) S::store(sums_[top_][i], sums[i]);
    pushed(merges);
  }
  // The same for sums that have been written to next(), row after row.
  float* next() { return sums_[top_][0]; }
  void pushed(std::int32_t merges) {
    ++top_;
    for (; merges > 0; --merges, --top_) {
      for (int i = 0; i < MT; ++i) {
        S::store(sums_[top_ - 2][i],
                 S::add(S::load(sums_[top_ - 2][i]), S::load(sums_[top_ - 1][i])));
      }
    }
  }
  // What is left: row after row of each segment.
  int segments() const { return top_; }
  const float* segment(int i) const { return sums_[i][0]; }
  // Writes every sum left as one segment.
  void write(const LinearCall& call, float* out) const {
    for (int segment = 0; segment < top_; ++segment) {
      for (int i = 0; i < MT; ++i) {
        S::store(out + segment * call.segment_stride + i * call.row_stride,
                 S::load(sums_[segment][i]));
      }
    }
  }

 private:
  alignas(64) float sums_[kMaxSegments + 1][MT][16];
  int top_ = 0;
};

// Asks for `bytes` of weights ahead of a tile. A few rows take weights as fast as memory streams
// them, and the stream is recognized; more rows compute for so long on a block that the next one,
// whose stream begins anew, would come late: kNextBlock.
template <bool kNextBlock>
void prefetch_ahead(const std::byte* weights, std::size_t bytes, std::int64_t block_bytes) {
  if constexpr (kNextBlock) {
    constexpr int kToSecondCache = 2;
    for (std::size_t line = 0; line < bytes; line += 64) {
      __builtin_prefetch(weights + block_bytes + line, 0, kToSecondCache);
    }
  } else {
    __builtin_prefetch(weights + kPrefetchBytes);
  }
}

// Q is one family's integer dot product for one packed format:
//   Q::Weights w(group_bytes);  V w.dot(bytes, bias): exact sums of weight * byte, as floats
//   w.scale(), and w.minimum() where Q::kHasMinimum.
template <class S, class Q, int MT>
void quantized_tile(const LinearCall& call, std::int64_t row, std::int64_t block, float* out) {
  const QuantizedRows& x = call.x.bytes;
  const std::byte* group = call.weights->block(block);
  const std::int64_t block_bytes = call.weights->columns() / kGroup * std::int64_t{Q::kGroupBytes};
  const std::int8_t* bytes = x.values + row * x.value_stride;
  const float* scales = x.scales + row * x.group_stride;
  const float* offsets = x.offsets + row * x.group_stride;
  const std::int32_t* biases = x.biases + row * x.group_stride;
  LaneStack<S, MT> stack;
  for (std::int32_t step = 0; step < call.num_steps; ++step) {
    typename S::V sums[MT];
    for (int i = 0; i < MT; ++i) sums[i] = S::zero();
    for (std::int32_t g = 0; g < call.steps[step].groups; ++g) {
      prefetch_ahead<(MT >= 4)>(group, Q::kGroupBytes, block_bytes);
      const typename Q::Weights w(group);
#pragma GCC unroll 16
      for (int i = 0; i < MT; ++i) {
        const std::int64_t at = i * x.group_stride;
        const auto dot = S::mul(w.dot(bytes + i * x.value_stride, biases[at]), S::set(scales[at]));
        sums[i] = S::fma(dot, w.scale(), sums[i]);
        if constexpr (Q::kHasMinimum) sums[i] = S::fma(S::set(offsets[at]), w.minimum(), sums[i]);
      }
      group += Q::kGroupBytes;
      bytes += kGroup;
      ++scales;
      ++offsets;
      ++biases;
    }
    stack.push(sums, call.steps[step].merges);
  }
  stack.write(call, out);
}

// bf16 by bf16: pairs of columns, the second of a pair before the first (S::dot).
template <class S, int MT>
void bf16_tile(const LinearCall& call, std::int64_t row, std::int64_t block, float* out) {
  const std::int64_t stride = call.x.half_stride;
  const auto* weights = reinterpret_cast<const std::uint16_t*>(call.weights->block(block));
  const std::int64_t block_bytes =
      call.weights->columns() * kRowBlock * std::int64_t{sizeof *weights};
  const std::uint16_t* x = call.x.halves + row * stride;
  LaneStack<S, MT> stack;
  for (std::int32_t step = 0; step < call.num_steps; ++step) {
    typename S::V sums[MT];
    for (int i = 0; i < MT; ++i) sums[i] = S::zero();
    const std::int64_t width = std::int64_t{call.steps[step].groups} * kGroup;
    for (std::int64_t k = 0; k < width; k += 2) {
      const std::uint16_t* pairs = weights + k * kRowBlock;
      prefetch_ahead<(MT >= 16)>(reinterpret_cast<const std::byte*>(pairs), 64, block_bytes);
      const auto w = S::load_pairs(pairs);
#pragma GCC unroll 16
      for (int i = 0; i < MT; ++i) sums[i] = S::dot(sums[i], w, S::set_pair(x + i * stride + k));
    }
    weights += width * kRowBlock;
    x += width;
    stack.push(sums, call.steps[step].merges);
  }
  stack.write(call, out);
}

// The same for NB row blocks side by side: each broadcast activation is used NB times, which many
// rows of them gain from. Their sums go to neighbouring columns.
template <class S, int MT, int NB>
void bf16_wide_tile(const LinearCall& call, std::int64_t row, std::int64_t block, float* out) {
  const std::int64_t stride = call.x.half_stride;
  const auto* weights = reinterpret_cast<const std::uint16_t*>(call.weights->block(block));
  const std::int64_t block_values = call.weights->columns() * kRowBlock;
  const std::uint16_t* x = call.x.halves + row * stride;
  LaneStack<S, MT> stacks[NB];
  for (std::int32_t step = 0; step < call.num_steps; ++step) {
    typename S::V sums[NB][MT];
    for (auto& of_block : sums) {
      for (auto& sum : of_block) sum = S::zero();
    }
    const std::int64_t width = std::int64_t{call.steps[step].groups} * kGroup;
    for (std::int64_t k = 0; k < width; k += 2) {
      typename S::Pairs w[NB];
      for (int j = 0; j < NB; ++j) w[j] = S::load_pairs(weights + j * block_values + k * kRowBlock);
#pragma GCC unroll 16
      for (int i = 0; i < MT; ++i) {
        const auto pair = S::set_pair(x + i * stride + k);
#pragma GCC unroll 4
        for (int j = 0; j < NB; ++j) sums[j][i] = S::dot(sums[j][i], w[j], pair);
      }
    }
    weights += width * kRowBlock;
    x += width;
    for (int j = 0; j < NB; ++j) stacks[j].push(sums[j], call.steps[step].merges);
  }
  for (int j = 0; j < NB; ++j) stacks[j].write(call, out + j * kRowBlock);
}

// Quantized weights by bf16: the small whole numbers that the weights count, and those of e4m3, are
// exact in bf16. I gives them: Pairs I::pairs(group_bytes, column), which is even; V
// I::scale(group_bytes), and I::minimum() where I::kHasMinimum.
template <class S, class I, int MT>
void integer_bf16_tile(const LinearCall& call, std::int64_t row, std::int64_t block, float* out) {
  const std::int64_t stride = call.x.half_stride;
  const std::byte* group = call.weights->block(block);
  const std::int64_t block_bytes = call.weights->columns() / kGroup * std::int64_t{I::kGroupBytes};
  const std::uint16_t* x = call.x.halves + row * stride;
  const float* x_sums = call.x.half_sums + row * call.x.bytes.group_stride;
  LaneStack<S, MT> stack;
  for (std::int32_t step = 0; step < call.num_steps; ++step) {
    typename S::V sums[MT];
    for (int i = 0; i < MT; ++i) sums[i] = S::zero();
    for (std::int32_t g = 0; g < call.steps[step].groups; ++g) {
      for (std::size_t line = 0; line < I::kGroupBytes; line += 64) {
        prefetch_ahead<(MT >= 8)>(group + line, 64, block_bytes);
      }
      typename S::V dots[MT];
      for (int i = 0; i < MT; ++i) dots[i] = S::zero();
      for (int column = 0; column < kGroup; column += 2) {
        const auto w = I::pairs(group, column);
#pragma GCC unroll 16
        for (int i = 0; i < MT; ++i) {
          dots[i] = S::dot(dots[i], w, S::set_pair(x + i * stride + column));
        }
      }
      for (int i = 0; i < MT; ++i) {
        sums[i] = S::fma(dots[i], I::scale(group), sums[i]);
        if constexpr (I::kHasMinimum) {
          const auto x_sum = S::set(x_sums[i * call.x.bytes.group_stride]);
          sums[i] = S::fma(x_sum, I::minimum(group), sums[i]);
        }
      }
      group += I::kGroupBytes;
      x += kGroup;
      ++x_sums;
    }
    stack.push(sums, call.steps[step].merges);
  }
  stack.write(call, out);
}

// W gives 16 rows of one column of a group in f32: V W::column(group_bytes, column).
template <class S, class W, int MT>
void float_tile(const LinearCall& call, std::int64_t row, std::int64_t block, float* out) {
  const std::int64_t stride = call.x.stride;
  const std::byte* group = call.weights->block(block);
  const std::size_t group_bytes = packed_group_bytes(call.weights->format());
  const float* x = call.x.values + row * stride;
  LaneStack<S, MT> stack;
  for (std::int32_t step = 0; step < call.num_steps; ++step) {
    typename S::V sums[MT];
    for (int i = 0; i < MT; ++i) sums[i] = S::zero();
    for (std::int32_t g = 0; g < call.steps[step].groups; ++g) {
      for (int column = 0; column < kGroup; ++column) {
        const auto w = W::column(group, column);
#pragma GCC unroll 16
        for (int i = 0; i < MT; ++i) sums[i] = S::fma(S::set(x[i * stride + column]), w, sums[i]);
      }
      group += group_bytes;
      x += kGroup;
    }
    stack.push(sums, call.steps[step].merges);
  }
  stack.write(call, out);
}

template <class S, class Q>
struct QuantizedTile {
  template <int MT>
  static void run(const LinearCall& call, std::int64_t row, std::int64_t block, float* out) {
    quantized_tile<S, Q, MT>(call, row, block, out);
  }
};

template <class S>
struct Bf16Tile {
  template <int MT>
  static void run(const LinearCall& call, std::int64_t row, std::int64_t block, float* out) {
    bf16_tile<S, MT>(call, row, block, out);
  }
};

template <class S, class I>
struct IntegerBf16Tile {
  template <int MT>
  static void run(const LinearCall& call, std::int64_t row, std::int64_t block, float* out) {
    integer_bf16_tile<S, I, MT>(call, row, block, out);
  }
};

template <class S, class W>
struct FloatTile {
  template <int MT>
  static void run(const LinearCall& call, std::int64_t row, std::int64_t block, float* out) {
    float_tile<S, W, MT>(call, row, block, out);
  }
};

// `rows` rows from `row` on, MT at a time, by one row block of the weights. `out` is where the
// first sum goes.
template <class Tile, int MT>
void run_tile(const LinearCall& call, std::int64_t row, std::int64_t rows, std::int64_t block,
              float* out) {
  while (rows >= MT) {
    Tile::template run<MT>(call, row, block, out);
    row += MT;
    rows -= MT;
    out += MT * call.row_stride;
  }
  if constexpr (MT > 1) {
    if (rows > 0) run_tile<Tile, MT / 2>(call, row, rows, block, out);
  }
}

// What the quantized formats (packed_matrix.h) count, and by what it is multiplied.
template <class S>
struct Q4Integers {
  static constexpr bool kHasMinimum = true;
  static constexpr std::size_t kGroupBytes = 320;
  static typename S::V column(const std::byte* group, int column) {
    const int shift = column % 4 * 8 + (column < 16 ? 0 : 4);
    return S::unsigned_bits(group + column % 16 / 4 * 64, shift, 15);
  }
  static typename S::Pairs pairs(const std::byte* group, int first) {
    return S::pair_up(column(group, first), column(group, first + 1));
  }
  static typename S::V scale(const std::byte* group) {
    return S::load_f16(reinterpret_cast<const std::uint16_t*>(group + 256));
  }
  static typename S::V minimum(const std::byte* group) {
    return S::load_f16(reinterpret_cast<const std::uint16_t*>(group + 288));
  }
};
template <class S>
struct Q8Integers {
  static constexpr bool kHasMinimum = false;
  static constexpr std::size_t kGroupBytes = 544;
  static typename S::V column(const std::byte* group, int column) {
    return S::signed_byte(group + column / 4 * 64, column % 4);
  }
  static typename S::Pairs pairs(const std::byte* group, int first) {
    return S::pair_up(column(group, first), column(group, first + 1));
  }
  static typename S::V scale(const std::byte* group) {
    return S::load_f16(reinterpret_cast<const std::uint16_t*>(group + 512));
  }
};
template <class S>
struct F8Numbers {
  static constexpr bool kHasMinimum = false;
  static constexpr std::size_t kGroupBytes = 576;
  static typename S::Pairs pairs(const std::byte* group, int first) {
    return S::load_e4m3_pairs(group + first * kRowBlock);
  }
  static typename S::V scale(const std::byte* group) {
    return S::load(reinterpret_cast<const float*>(group + 512));
  }
};

// Columns of the packed formats in f32.
template <class S>
struct Q4Columns {
  static typename S::V column(const std::byte* group, int column) {
    using I = Q4Integers<S>;
    return S::fma(I::scale(group), I::column(group, column), I::minimum(group));
  }
};
template <class S>
struct Q8Columns {
  static typename S::V column(const std::byte* group, int column) {
    using I = Q8Integers<S>;
    return S::mul(I::scale(group), I::column(group, column));
  }
};
template <class S>
struct F8Columns {
  static typename S::V column(const std::byte* group, int column) {
    const auto pairs = F8Numbers<S>::pairs(group, column / 2 * 2);
    return S::mul(F8Numbers<S>::scale(group),
                  column % 2 == 0 ? S::firsts(pairs) : S::seconds(pairs));
  }
};
template <class S>
struct Bf16Columns {
  static typename S::V column(const std::byte* group, int column) {
    const auto pairs =
        S::load_pairs(reinterpret_cast<const std::uint16_t*>(group + column / 2 * 64));
    return column % 2 == 0 ? S::firsts(pairs) : S::seconds(pairs);
  }
};
template <class S>
struct F16Columns {
  static typename S::V column(const std::byte* group, int column) {
    return S::load_f16(reinterpret_cast<const std::uint16_t*>(group) + column * kRowBlock);
  }
};
template <class S>
struct F32Columns {
  static typename S::V column(const std::byte* group, int column) {
    return S::load(reinterpret_cast<const float*>(group) + column * kRowBlock);
  }
};

using TileRunner = void (*)(const LinearCall& call, std::int64_t row, std::int64_t rows,
                            std::int64_t block, float* out);

template <class S>
TileRunner float_runner(PackedFormat format) {
  constexpr int MT = S::kTileRows;
  switch (format) {
    case PackedFormat::q4: return run_tile<FloatTile<S, Q4Columns<S>>, MT>;
    case PackedFormat::q8: return run_tile<FloatTile<S, Q8Columns<S>>, MT>;
    case PackedFormat::f8: return run_tile<FloatTile<S, F8Columns<S>>, MT>;
    case PackedFormat::bf16: return run_tile<FloatTile<S, Bf16Columns<S>>, MT>;
    case PackedFormat::f16: return run_tile<FloatTile<S, F16Columns<S>>, MT>;
    case PackedFormat::f32: break;
  }
  return run_tile<FloatTile<S, F32Columns<S>>, MT>;
}

template <class S>
TileRunner bf16_runner(PackedFormat format) {
  constexpr int MT = S::kTileRows;
  switch (format) {
    case PackedFormat::q4: return run_tile<IntegerBf16Tile<S, Q4Integers<S>>, MT / 2>;
    case PackedFormat::q8: return run_tile<IntegerBf16Tile<S, Q8Integers<S>>, MT / 2>;
    case PackedFormat::f8: return run_tile<IntegerBf16Tile<S, F8Numbers<S>>, MT / 2>;
    default: return run_tile<Bf16Tile<S>, MT>;
  }
}

// Q4 and Q8 are the family's integer dot products.
template <class S, class Q4, class Q8>
TileRunner tile_runner(const LinearCall& call) {
  constexpr int MT = S::kTileRows;
  switch (call.activations) {
    case ActivationFormat::f32: return float_runner<S>(call.weights->format());
    case ActivationFormat::bf16: return bf16_runner<S>(call.weights->format());
    case ActivationFormat::int8: break;
  }
  return call.weights->format() == PackedFormat::q4 ? run_tile<QuantizedTile<S, Q4>, MT>
                                                    : run_tile<QuantizedTile<S, Q8>, MT>;
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

// Calls visit(unit, row, rows) for all tiles: units of weights [begin, end) by tiles of rows. Rows
// are taken in panels that stay in a near cache while all the weights pass.
template <class S, std::int64_t kBytes = kPanelBytes, class Visit>
void walk_tiles(const LinearCall& call, std::int64_t begin, std::int64_t end, const Visit& visit) {
  constexpr std::int64_t MT = S::kTileRows;
  const std::int64_t panel = std::max<std::int64_t>(kBytes / row_bytes<S>(call) / MT, 1) * MT;
  for (std::int64_t first = 0; first < call.m; first += panel) {
    const std::int64_t last = std::min(first + panel, call.m);
    for (std::int64_t unit = begin; unit < end; ++unit) {
      for (std::int64_t row = first; row < last; row += MT) {
        visit(unit, row, std::min(MT, last - row));
      }
    }
  }
}

// From so many rows on, bf16 products take several row blocks side by side.
inline constexpr std::int64_t kWideRows = 64;
inline constexpr int kWideTileRows = 8;

template <class S>
bool takes_wide_tiles(const LinearCall& call) {
  return S::kTileRows == 16 && call.m >= kWideRows && call.activations == ActivationFormat::bf16 &&
         call.weights->format() == PackedFormat::bf16;
}

// `rows` rows by NB row blocks, in wide tiles as far as they go, the other rows by `run`.
template <class S, int NB>
void run_wide(const LinearCall& call, TileRunner run, std::int64_t row, std::int64_t rows,
              std::int64_t block, float* out) {
  constexpr int MT = kWideTileRows;
  for (; rows >= MT; rows -= MT, row += MT, out += MT * call.row_stride) {
    bf16_wide_tile<S, MT, NB>(call, row, block, out);
  }
  for (int i = 0; rows > 0 && i < NB; ++i) run(call, row, rows, block + i, out + i * kRowBlock);
}

template <class S>
void linear_wide(const LinearCall& call, TileRunner run) {
  constexpr int NB = 3;
  const std::int64_t units = (call.block_end - call.block_begin + NB - 1) / NB;
  walk_tiles<S, kWidePanelBytes>(
      call, 0, units, [&](std::int64_t unit, std::int64_t row, std::int64_t rows) {
        const std::int64_t block = call.block_begin + unit * NB;
        float* out = call.out + row * call.row_stride + block * kRowBlock;
        if (block + NB <= call.block_end) return run_wide<S, NB>(call, run, row, rows, block, out);
        for (std::int64_t i = 0; block + i < call.block_end; ++i) {
          run(call, row, rows, block + i, out + i * kRowBlock);
        }
      });
}

template <class S, class Q4, class Q8>
void linear(const LinearCall& call) {
  const TileRunner run = tile_runner<S, Q4, Q8>(call);
  if (takes_wide_tiles<S>(call)) return linear_wide<S>(call, run);
  walk_tiles<S>(call, call.block_begin, call.block_end,
                [&](std::int64_t block, std::int64_t row, std::int64_t rows) {
                  run(call, row, rows, block, call.out + row * call.row_stride + block * kRowBlock);
                });
}

}  // namespace lockstep::kernels::cpu

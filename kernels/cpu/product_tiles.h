// Products x * W^T of a tile of MT rows by N row blocks of 16 outputs, for every family S and form
// of activations. The sum over K is sequential within a lane (kernels/lanes.h), whatever the number
// of rows: no tile size, thread or batch moves a bit.
#pragma once

#include <algorithm>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/streams.h"

namespace lockstep::kernels::cpu {

// How far ahead weights are asked for by tiles of few rows.
inline constexpr std::int64_t kPrefetchBytes = 2048;

// Partial sums of one tile of MT rows by 16 outputs, combined as the lane steps say.
template <class S, int MT>
class LaneStack {
 public:
  void push(typename S::V (&sums)[MT], std::int32_t merges) {
    for (; merges > 0; --merges) {
      --top_;
      for (int i = 0; i < MT; ++i) sums[i] = S::add(S::load(sums_[top_][i]), sums[i]);
    }
    for (int i = 0; i < MT; ++i) S::store(sums_[top_][i], sums[i]);
    ++top_;
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

// More weights than this would not wait in the second cache, beside rows of activations.
inline constexpr std::int64_t kMostAhead = 256 << 10;

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

// Row blocks that are read together, and where their sums go: a tile's sums are of MT rows, from
// `row` on, by all of them.
template <std::size_t N>
using Blocks = std::array<std::int64_t, N>;
template <std::size_t N>
using Sums = std::array<float*, N>;

// Where they are read.
template <std::size_t N>
class Streams {
 public:
  Streams(const LinearCall& call, const Blocks<N>& blocks) {
    for (std::size_t s = 0; s < N; ++s) at_[s] = call.weights->block(blocks[s]);
  }
  const std::byte* operator[](std::size_t s) const { return at_[s]; }
  void advance(std::int64_t bytes) {
    for (std::size_t s = 0; s < N; ++s) at_[s] += bytes;
  }

 private:
  const std::byte* at_[N];
};

// Sums N row blocks by MT rows as the lane steps say: add_group(sums) adds the next 32 columns'
// products to the sums of each block and row. Inlined: around a call, what add_group advances would
// lie in memory.
template <class S, int MT, std::size_t N, class AddGroup>
[[gnu::always_inline]] inline void sum_lanes(const LinearCall& call, const Sums<N>& outs,
                                             const AddGroup& add_group) {
  LaneStack<S, MT> stacks[N];
  // Sums of many rows do not stay near: asked for now, their lines are there when they are written.
  if constexpr (MT > 1) {
    for (float* out : outs) {
      for (int i = 0; i < MT; ++i) __builtin_prefetch(out + i * call.row_stride, 1);
    }
  }
  for (std::int32_t step = 0; step < call.num_steps; ++step) {
    typename S::V sums[N][MT];
    for (auto& of_block : sums) {
      for (auto& sum : of_block) sum = S::zero();
    }
    for (std::int32_t g = 0; g < call.steps[step].groups; ++g) add_group(sums);
    for (std::size_t s = 0; s < N; ++s) stacks[s].push(sums[s], call.steps[step].merges);
  }
  for (std::size_t s = 0; s < N; ++s) stacks[s].write(call, outs[s]);
}

template <int R>
bool is_any_wide(const QuantizedRows& rows) {
  int any = 0;
#pragma GCC unroll 16
  for (int i = 0; i < R; ++i) any |= rows.wide[i * rows.group_stride];
  return any != 0;
}

// Q is one family's integer dot product for one packed format:
//   Q::Weights w(group_bytes);
//   w.dots(x, Ints (&out)[R]): of a group of R rows, the exact sums of weight * byte
//   w.widen(x, Ints (&dots)[R]): for those of them that are wide, kWideBase times that, and the
//   exact sums of weight * low byte
//   w.scale(), and w.minimum() where Q::kHasMinimum.
// A row's sum is a chain of instructions that wait for one another: S::kChains rows go side by
// side.
template <class S, class Q, int MT, std::size_t N>
void quantized_tile(const LinearCall& call, std::int64_t row, const Blocks<N>& blocks,
                    const Sums<N>& outs) {
  constexpr int R = std::min(MT, S::kChains);
  QuantizedRows x = call.x.bytes.from(row, 0);
  const std::int64_t block_bytes = call.weights->columns() / kGroup * std::int64_t{Q::kGroupBytes};
  Streams<N> groups(call, blocks);
  sum_lanes<S, MT, N>(call, outs, [&](typename S::V(&sums)[N][MT]) {
#pragma GCC unroll 4
    for (std::size_t s = 0; s < N; ++s) {
      prefetch_ahead<(MT >= 2)>(groups[s], Q::kGroupBytes, block_bytes);
      const typename Q::Weights w(groups[s]);
#pragma GCC unroll 16
      for (int i = 0; i < MT; i += R) {
        const QuantizedRows rows = x.from(i, 0);
        typename S::Ints dots[R];
        w.dots(rows, dots);
        if (is_any_wide<R>(rows)) [[unlikely]]
          w.widen(rows, dots);
#pragma GCC unroll 16
        for (int j = 0; j < R; ++j) {
          const std::int64_t at = j * x.group_stride;
          const auto dot = S::mul(S::floats(dots[j]), S::set(rows.scales[at]));
          auto& sum = sums[s][i + j];
          sum = S::fma(dot, w.scale(), sum);
          if constexpr (Q::kHasMinimum) {
            sum = S::fma(S::set(rows.offsets[at]), w.minimum(), sum);
          }
        }
      }
    }
    groups.advance(Q::kGroupBytes);
    x = x.from(0, kGroup);
  });
}

// bf16 by bf16: pairs of columns, the second of a pair before the first (S::dot).
template <class S, int MT, std::size_t N>
void bf16_tile(const LinearCall& call, std::int64_t row, const Blocks<N>& blocks,
               const Sums<N>& outs) {
  constexpr std::int64_t kPairBytes = 2 * kRowBlock * sizeof(std::uint16_t);
  const std::int64_t stride = call.x.half_stride;
  const std::int64_t block_bytes = call.weights->columns() / 2 * kPairBytes;
  Streams<N> pairs(call, blocks);
  const std::uint16_t* x = call.x.halves + row * stride;
  sum_lanes<S, MT, N>(call, outs, [&](typename S::V(&sums)[N][MT]) {
    for (int column = 0; column < kGroup; column += 2) {
#pragma GCC unroll 4
      for (std::size_t s = 0; s < N; ++s) {
        prefetch_ahead<(MT >= 16)>(pairs[s], kPairBytes, block_bytes);
        const auto w = S::load_pairs(reinterpret_cast<const std::uint16_t*>(pairs[s]));
#pragma GCC unroll 16
        for (int i = 0; i < MT; ++i) {
          sums[s][i] = S::dot(sums[s][i], w, S::set_pair(x + i * stride + column));
        }
      }
      pairs.advance(kPairBytes);
    }
    x += kGroup;
  });
}

// The same for NB row blocks side by side: each broadcast activation is used NB times, which many
// rows of them gain from. Their sums go to neighbouring columns.
template <class S, int MT, int NB>
void bf16_wide_tile(const LinearCall& call, std::int64_t row, std::int64_t block, float* out) {
  const std::int64_t stride = call.x.half_stride;
  const auto* weights = reinterpret_cast<const std::uint16_t*>(call.weights->block(block));
  const std::int64_t block_values = call.weights->columns() * kRowBlock;
  const std::uint16_t* x = call.x.halves + row * stride;
  const std::int64_t next = NB * block_values * std::int64_t{sizeof(std::uint16_t)};
  const std::int64_t ahead = next <= kMostAhead ? next : kPrefetchBytes;
  Sums<NB> outs;
  for (int j = 0; j < NB; ++j) outs[j] = out + j * kRowBlock;
  sum_lanes<S, MT, NB>(call, outs, [&](typename S::V(&sums)[NB][MT]) {
    for (int column = 0; column < kGroup; column += 2) {
      typename S::Pairs w[NB];
      for (int j = 0; j < NB; ++j) {
        const std::uint16_t* pairs = weights + j * block_values + column * kRowBlock;
        prefetch_ahead<true>(reinterpret_cast<const std::byte*>(pairs), 64, ahead);
        w[j] = S::load_pairs(pairs);
      }
#pragma GCC unroll 16
      for (int i = 0; i < MT; ++i) {
        const auto pair = S::set_pair(x + i * stride + column);
#pragma GCC unroll 4
        for (int j = 0; j < NB; ++j) sums[j][i] = S::dot(sums[j][i], w[j], pair);
      }
    }
    weights += kGroup * kRowBlock;
    x += kGroup;
  });
}

// Quantized weights by bf16: the small whole numbers that the weights count, and those of e4m3, are
// exact in bf16. I gives them: Pairs I::pairs(group_bytes, column), which is even; V
// I::scale(group_bytes), and I::minimum() where I::kHasMinimum.
template <class S, class I, int MT, std::size_t N>
void integer_bf16_tile(const LinearCall& call, std::int64_t row, const Blocks<N>& blocks,
                       const Sums<N>& outs) {
  const std::int64_t stride = call.x.half_stride;
  const std::int64_t block_bytes = call.weights->columns() / kGroup * std::int64_t{I::kGroupBytes};
  Streams<N> groups(call, blocks);
  const std::uint16_t* x = call.x.halves + row * stride;
  const float* x_sums = call.x.half_sums + row * call.x.bytes.group_stride;
  sum_lanes<S, MT, N>(call, outs, [&](typename S::V(&sums)[N][MT]) {
    for (std::size_t s = 0; s < N; ++s) {
      const std::byte* group = groups[s];
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
        sums[s][i] = S::fma(dots[i], I::scale(group), sums[s][i]);
        if constexpr (I::kHasMinimum) {
          const auto x_sum = S::set(x_sums[i * call.x.bytes.group_stride]);
          sums[s][i] = S::fma(x_sum, I::minimum(group), sums[s][i]);
        }
      }
    }
    groups.advance(I::kGroupBytes);
    x += kGroup;
    ++x_sums;
  });
}

// W gives 16 rows of one column of a group in f32: V W::column(group_bytes, column).
template <class S, class W, int MT, std::size_t N>
void float_tile(const LinearCall& call, std::int64_t row, const Blocks<N>& blocks,
                const Sums<N>& outs) {
  const std::int64_t stride = call.x.stride;
  const auto group_bytes = static_cast<std::int64_t>(packed_group_bytes(call.weights->format()));
  Streams<N> groups(call, blocks);
  const float* x = call.x.values + row * stride;
  sum_lanes<S, MT, N>(call, outs, [&](typename S::V(&sums)[N][MT]) {
    for (std::size_t s = 0; s < N; ++s) {
      for (int column = 0; column < kGroup; ++column) {
        const auto w = W::column(groups[s], column);
#pragma GCC unroll 16
        for (int i = 0; i < MT; ++i) {
          sums[s][i] = S::fma(S::set(x[i * stride + column]), w, sums[s][i]);
        }
      }
    }
    groups.advance(group_bytes);
    x += kGroup;
  });
}

}  // namespace lockstep::kernels::cpu

// Causal attention over a paged cache, for every family S: online softmax (Milakov and Gimelshein,
// arXiv:1805.02867) over tiles of 16 positions counted from position 0, so that a query's sums have
// one order however the prompt was chunked and whatever shares the batch.
#pragma once

#include <algorithm>
#include <limits>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/simd_math.h"

namespace lockstep::kernels::cpu {

inline constexpr std::int32_t kTile = 16;
inline constexpr std::int32_t kQueryRows = 8;  // query positions that share one pass over the cache

// One query head's running softmax; its weighted values lie beside it.
struct SoftmaxState {
  float maximum;
  float sum;
};

// Scratch of one call: a tile of keys and one of values in f32, and the state of every query.
struct AttentionScratch {
  AttentionScratch(float* memory, std::int32_t queries, std::int32_t head_dim)
      : keys(memory),
        values(keys + kTile * head_dim),
        outputs(values + kTile * head_dim),
        states(reinterpret_cast<SoftmaxState*>(outputs + queries * head_dim)) {}
  float* keys;     // [head_dim, 16]
  float* values;   // [16, head_dim]
  float* outputs;  // [queries, head_dim]
  SoftmaxState* states;
};

// q . k for the tile's 16 positions. Four interleaved sums over head_dim hide the latency.
template <class S>
typename S::V tile_scores(const float* q, const float* keys, std::int32_t head_dim) {
  typename S::V sums[4] = {S::zero(), S::zero(), S::zero(), S::zero()};
  for (std::int32_t d = 0; d < head_dim; d += 4) {
    for (int i = 0; i < 4; ++i) {
      sums[i] = S::fma(S::set(q[d + i]), S::load(keys + (d + i) * kTile), sums[i]);
    }
  }
  return S::add(S::add(sums[0], sums[1]), S::add(sums[2], sums[3]));
}

// Adds the first `valid` positions of the tile to one query's softmax.
template <class S>
void attend_tile(const float* q, const AttentionScratch& scratch, float* output,
                 SoftmaxState& state, std::int32_t valid, std::int32_t head_dim, float scale) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  float scores[kTile];
  S::store(scores, S::mul(tile_scores<S>(q, scratch.keys, head_dim), S::set(scale)));
  for (std::int32_t j = valid; j < kTile; ++j) scores[j] = kNone;
  const auto masked = S::load(scores);
  const float tile_maximum = maximum<S>(masked);
  const float new_maximum = tile_maximum > state.maximum ? tile_maximum : state.maximum;
  const auto weights = exp_nonpositive<S>(S::sub(masked, S::set(new_maximum)));
  float decay[kTile];
  S::store(decay, exp_nonpositive<S>(S::set(state.maximum - new_maximum)));
  state.sum = state.sum * decay[0] + sum<S>(weights);
  state.maximum = new_maximum;
  float weight[kTile];
  S::store(weight, weights);
  for (std::int32_t d = 0; d < head_dim; d += 16) {
    auto out = S::mul(S::load(output + d), S::set(decay[0]));
    for (std::int32_t j = 0; j < valid; ++j) {
      out = S::fma(S::set(weight[j]), S::load(scratch.values + j * head_dim + d), out);
    }
    S::store(output + d, out);
  }
}

template <class S>
void load_tile(const AttentionCall& call, std::int32_t tile, const AttentionScratch& scratch) {
  const std::int32_t elements = kTile * call.head_dim;
  const std::uint16_t* keys = call.cache +
                              call.block_table[tile / call.tiles_per_block] * call.block_stride +
                              (tile % call.tiles_per_block) * elements;
  const std::uint16_t* values = keys + call.value_offset;
  for (std::int32_t i = 0; i < elements; i += 16) {
    S::store(scratch.keys + i, S::load_bf16(keys + i));
    S::store(scratch.values + i, S::load_bf16(values + i));
  }
}

template <class S>
void attend_rows(const AttentionCall& call, std::int32_t row_begin, std::int32_t row_end) {
  const std::int32_t queries = (row_end - row_begin) * call.heads;
  const AttentionScratch scratch(call.scratch, kQueryRows * call.heads, call.head_dim);
  for (std::int32_t i = 0; i < queries; ++i) {
    scratch.states[i] = {-std::numeric_limits<float>::infinity(), 0.0f};
  }
  std::fill_n(scratch.outputs, queries * call.head_dim, 0.0f);
  const std::int32_t last_position = call.first_position + row_end - 1;
  for (std::int32_t tile = 0; tile * kTile <= last_position; ++tile) {
    load_tile<S>(call, tile, scratch);
    for (std::int32_t row = row_begin; row < row_end; ++row) {
      const std::int32_t valid = std::min(kTile, call.first_position + row + 1 - tile * kTile);
      if (valid <= 0) continue;
      for (std::int32_t head = 0; head < call.heads; ++head) {
        const std::int32_t i = (row - row_begin) * call.heads + head;
        attend_tile<S>(call.q + row * call.query_stride + head * call.head_dim, scratch,
                       scratch.outputs + i * call.head_dim, scratch.states[i], valid, call.head_dim,
                       call.scale);
      }
    }
  }
  for (std::int32_t i = 0; i < queries; ++i) {
    const auto total = S::set(scratch.states[i].sum);
    float* out = call.out + (row_begin + i / call.heads) * call.query_stride +
                 (i % call.heads) * call.head_dim;
    for (std::int32_t d = 0; d < call.head_dim; d += 16) {
      S::store(out + d, S::div(S::load(scratch.outputs + i * call.head_dim + d), total));
    }
  }
}

template <class S>
void attention(const AttentionCall& call) {
  for (std::int32_t row = 0; row < call.rows; row += kQueryRows) {
    attend_rows<S>(call, row, std::min(row + kQueryRows, call.rows));
  }
}

}  // namespace lockstep::kernels::cpu

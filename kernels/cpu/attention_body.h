// Causal attention over a paged cache, for every family S: online softmax (Milakov and Gimelshein,
// arXiv:1805.02867) in passes of 64 positions counted from position 0, and partial results of
// chunks of 512 combined in order (Dao et al., Flash-Decoding), so that a query's sums have one
// order however the prompt was chunked and whatever shares the batch.
//
// A tile of 16 positions holds its keys as [head_dim / 2][16 positions][2], so that sixteen scores
// are one register of bf16 dot products, and its values as [8 pairs of positions][head_dim][2].
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>

#include "kernels/cpu/attention_scratch.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/simd_math.h"
#include "kernels/half.h"

namespace lockstep::kernels::cpu {

template <class S>
void store_kv(const float* k, const float* v, std::int64_t head_dim, std::uint16_t* k_tile,
              std::uint16_t* v_tile, std::int32_t slot) {
  for (std::int64_t d = 0; d < head_dim; d += 16) {
    alignas(64) std::uint16_t key[16], value[16];
    S::store_bf16(key, S::load(k + d));
    S::store_bf16(value, S::load(v + d));
    for (int i = 0; i < 16; i += 2) {
      std::memcpy(k_tile + ((d + i) / 2 * kTile + slot) * 2, key + i, 2 * sizeof key[0]);
    }
    std::uint16_t* to = v_tile + (slot / 2 * head_dim + d) * 2 + slot % 2;
    for (int i = 0; i < 16; ++i) to[2 * i] = value[i];
  }
}

// The tiles of one pass.
struct PassTiles {
  const std::uint16_t* keys[kPassTiles];
  const std::uint16_t* values[kPassTiles];
};

inline constexpr float kLog2E = 1.44269504f;

inline constexpr std::int32_t tiles_of(std::int32_t positions) {
  return std::clamp((positions + kTile - 1) / kTile, 0, kPassTiles);
}

// Scores of NQ queries, `query_stride` apart, at the positions of NT tiles from tile `t` on. Each is
// one sum over head_dim.
template <class S, int NQ, int NT>
void score_tiles(const std::uint16_t* q, std::int32_t query_stride, const PassTiles& pass,
                 std::int32_t t, std::int32_t head_dim, float (*scores)[kPass]) {
  typename S::V sums[NQ][NT];
  for (int i = 0; i < NQ; ++i) {
    for (int j = 0; j < NT; ++j) sums[i][j] = S::zero();
  }
  for (std::int32_t d = 0; d < head_dim; d += 2) {
    typename S::Pairs keys[NT];
    for (int j = 0; j < NT; ++j) keys[j] = S::load_pairs(pass.keys[t + j] + d * kTile);
#pragma GCC unroll 4
    for (int i = 0; i < NQ; ++i) {
      const auto query = S::set_pair(q + i * query_stride + d);
#pragma GCC unroll 4
      for (int j = 0; j < NT; ++j) sums[i][j] = S::dot(sums[i][j], keys[j], query);
    }
  }
  for (int i = 0; i < NQ; ++i) {
    for (int j = 0; j < NT; ++j) S::store(scores[i] + (t + j) * kTile, sums[i][j]);
  }
}

// Adds the first `valid` (at least one) positions' scores to a query's softmax. Writes their
// weights in bf16 and returns what all that was weighed before must be multiplied by.
template <class S>
float add_scores(float* scores, std::int32_t valid, float scale, SoftmaxState& state,
                 std::uint16_t* weights) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const std::int32_t tiles = tiles_of(valid);
  typename S::V score[kPassTiles];
  score[0] = S::mul(S::load(scores), S::set(scale));
  for (std::int32_t t = 1; t < tiles; ++t) {
    score[t] = S::mul(S::load(scores + t * kTile), S::set(scale));
  }
  if (valid < tiles * kTile) {
    float* last = scores + (tiles - 1) * kTile;
    S::store(last, score[tiles - 1]);
    std::fill(scores + valid, scores + tiles * kTile, kNone);
    score[tiles - 1] = S::load(last);
  }
  auto largest = score[0];
  for (std::int32_t t = 1; t < tiles; ++t) largest = S::max(score[t], largest);
  const float maximum = std::max(state.maximum, S::maximum(largest));
  auto total = S::zero();
  for (std::int32_t t = 0; t < tiles; ++t) {
    const auto weight = exp2_nonpositive<S>(S::sub(score[t], S::set(maximum)));
    total = S::add(total, weight);
    S::store_bf16(weights + t * kTile, weight);
  }
  // 2^0 is 1 to the last bit, so it need not be computed.
  const float decay = state.maximum == maximum ? 1.0f : exp2_of<S>(state.maximum - maximum);
  state.sum = state.sum * decay + S::sum(total);
  state.maximum = maximum;
  return decay;
}

// outputs[i][0, 16 * R) = outputs[i] * decay[i] + the weighted values of the first `valid` positions,
// for NQ queries, `output_stride` apart.
template <class S, int NQ, int R>
void add_values(const PassTiles& pass, std::int64_t first_value, std::int32_t valid,
                std::int32_t head_dim, const std::uint16_t (*weights)[kPass],
                const float (&decay)[NQ], float* outputs, std::int64_t output_stride) {
  typename S::V out[NQ][R];
  for (int i = 0; i < NQ; ++i) {
    for (int r = 0; r < R; ++r) {
      out[i][r] = S::mul(S::load(outputs + i * output_stride + 16 * r), S::set(decay[i]));
    }
  }
  for (std::int32_t position = 0; position + 1 < valid; position += 2) {
    const std::uint16_t* values = pass.values[position / kTile] +
                                  2 * (position % kTile / 2 * head_dim + first_value);
    typename S::Pairs value[R];
    for (int r = 0; r < R; ++r) value[r] = S::load_pairs(values + 32 * r);
#pragma GCC unroll 4
    for (int i = 0; i < NQ; ++i) {
      const auto weight = S::set_pair(weights[i] + position);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) out[i][r] = S::dot(out[i][r], value[r], weight);
    }
  }
  if (valid % 2 == 1) {
    // The last pair's second place belongs to nobody yet: what lies there must not matter.
    const std::uint16_t* values = pass.values[(valid - 1) / kTile] +
                                  2 * ((valid - 1) % kTile / 2 * head_dim + first_value);
    for (int i = 0; i < NQ; ++i) {
      const auto weight = S::first_of_pairs(S::set_pair(weights[i] + valid - 1));
      for (int r = 0; r < R; ++r) {
        const auto value = S::first_of_pairs(S::load_pairs(values + 32 * r));
        out[i][r] = S::dot(out[i][r], value, weight);
      }
    }
  }
  for (int i = 0; i < NQ; ++i) {
    for (int r = 0; r < R; ++r) S::store(outputs + i * output_stride + 16 * r, out[i][r]);
  }
}

// The work on some query rows of one call.
template <class S>
class AttentionRows {
 public:
  AttentionRows(const AttentionCall& call, std::int32_t row_begin, std::int32_t row_end)
      : call_(call),
        row_begin_(row_begin),
        queries_((row_end - row_begin) * call.heads),
        first_position_(call.first_position + row_begin),
        last_position_(call.first_position + row_end - 1),
        scale_(call.scale * kLog2E),
        scratch_(call.scratch, kQueryRows * call.heads, call.head_dim) {
    for (std::int32_t i = 0; i < queries_; ++i) {
      for (std::int32_t d = 0; d < call.head_dim; d += 16) {
        S::store_bf16(scratch_.query(i) + d, S::load(call.q + offset(i) + d));
      }
    }
  }

  void run() {
    for (std::int32_t chunk = 0; chunk <= last_position_; chunk += kAttentionChunk) {
      const AttentionPart& part = chunk == 0 ? scratch_.total : scratch_.chunk;
      std::fill_n(part.states, queries_,
                  SoftmaxState{-std::numeric_limits<float>::infinity(), 0.0f});
      std::fill_n(part.outputs, queries_ * call_.head_dim, 0.0f);
      const std::int32_t end = std::min(chunk + kAttentionChunk, last_position_ + 1);
      for (std::int32_t start = chunk; start < end; start += kPass) attend_pass(start, part);
      if (chunk > 0) combine(chunk);
    }
    write();
  }

 private:
  std::int64_t offset(std::int32_t i) const {
    return (row_begin_ + i / call_.heads) * call_.query_stride + i % call_.heads * call_.head_dim;
  }

  // Keys of tile `tile` of the sequence, or of its last tile.
  const std::uint16_t* keys_of(std::int32_t tile) const {
    tile = std::min(tile, last_position_ / kTile);
    return call_.cache + call_.block_table[tile / call_.tiles_per_block] * call_.block_stride +
           tile % call_.tiles_per_block * kTile * call_.head_dim;
  }

  PassTiles tiles_at(std::int32_t start) const {
    PassTiles pass;
    for (std::int32_t t = 0; t < kPassTiles; ++t) {
      pass.keys[t] = keys_of(start / kTile + t);
      pass.values[t] = pass.keys[t] + call_.value_offset;
    }
    return pass;
  }

  void attend_pass(std::int32_t start, const AttentionPart& part) {
    const PassTiles pass = tiles_at(start);
    // Rows before this one lie before the pass.
    const std::int32_t first_row = std::max(start - first_position_, 0);
    for (std::int32_t row = first_row; row * call_.heads < queries_; ++row) {
      const std::int32_t valid = std::min(first_position_ + row + 1 - start, kPass);
      const std::int32_t end = (row + 1) * call_.heads;
      std::int32_t i = row * call_.heads;
      for (; i + S::kTileQueries <= end; i += S::kTileQueries) {
        attend_queries<S::kTileQueries>(i, valid, pass, part);
      }
      attend_rest<S::kTileQueries - 1>(i, end - i, valid, pass, part);
    }
  }

  // Fewer than a full tile of queries: at most NQ.
  template <int NQ>
  void attend_rest(std::int32_t i, std::int32_t count, std::int32_t valid, const PassTiles& pass,
                   const AttentionPart& part) {
    if constexpr (NQ > 0) {
      if (count == NQ) return attend_queries<NQ>(i, valid, pass, part);
      attend_rest<NQ - 1>(i, count, valid, pass, part);
    }
  }

  // Queries i ... i + NQ - 1 of one row attend the first `valid` positions of the pass.
  template <int NQ>
  void attend_queries(std::int32_t i, std::int32_t valid, const PassTiles& pass,
                      const AttentionPart& part) {
    alignas(64) float scores[NQ][kPass];
    alignas(64) std::uint16_t weights[NQ][kPass];
    const std::int32_t tiles = tiles_of(valid);
    const std::int32_t head_dim = call_.head_dim;
    std::int32_t t = 0;
    for (; t + S::kScoreTiles <= tiles; t += S::kScoreTiles) {
      score_tiles<S, NQ, S::kScoreTiles>(scratch_.query(i), head_dim, pass, t, head_dim, scores);
    }
    for (; t < tiles; ++t) {
      score_tiles<S, NQ, 1>(scratch_.query(i), head_dim, pass, t, head_dim, scores);
    }
    float decay[NQ];
    for (int j = 0; j < NQ; ++j) {
      decay[j] = add_scores<S>(scores[j], valid, scale_, part.states[i + j], weights[j]);
    }
    float* outputs = part.outputs + i * head_dim;
    constexpr int R = S::kValueRegisters;
    std::int32_t d = 0;
    for (; d + 16 * R <= head_dim; d += 16 * R) {
      add_values<S, NQ, R>(pass, d, valid, head_dim, weights, decay, outputs + d, head_dim);
    }
    for (; d < head_dim; d += 16) {
      add_values<S, NQ, 1>(pass, d, valid, head_dim, weights, decay, outputs + d, head_dim);
    }
  }

  // Adds a chunk's result to that of the chunks before it.
  void combine(std::int32_t chunk) {
    for (std::int32_t i = std::max(chunk - first_position_, 0) * call_.heads; i < queries_; ++i) {
      SoftmaxState& total = scratch_.total.states[i];
      const SoftmaxState& part = scratch_.chunk.states[i];
      const float maximum = std::max(total.maximum, part.maximum);
      const float old_factor = exp2_of<S>(total.maximum - maximum);
      const float new_factor = exp2_of<S>(part.maximum - maximum);
      total = {maximum, total.sum * old_factor + part.sum * new_factor};
      float* old_output = scratch_.total.outputs + i * call_.head_dim;
      const float* new_output = scratch_.chunk.outputs + i * call_.head_dim;
      for (std::int32_t d = 0; d < call_.head_dim; d += 16) {
        const auto added = S::mul(S::load(new_output + d), S::set(new_factor));
        S::store(old_output + d, S::fma(S::load(old_output + d), S::set(old_factor), added));
      }
    }
  }

  void write() const {
    for (std::int32_t i = 0; i < queries_; ++i) {
      const auto total = S::set(scratch_.total.states[i].sum);
      const float* output = scratch_.total.outputs + i * call_.head_dim;
      for (std::int32_t d = 0; d < call_.head_dim; d += 16) {
        S::store(call_.out + offset(i) + d, S::div(S::load(output + d), total));
      }
    }
  }

  const AttentionCall& call_;
  const std::int32_t row_begin_;
  const std::int32_t queries_;
  const std::int32_t first_position_;
  const std::int32_t last_position_;
  const float scale_;  // scores become powers of two
  const AttentionScratch scratch_;
};

template <class S>
void attention(const AttentionCall& call) {
  for (std::int32_t row = 0; row < call.rows; row += kQueryRows) {
    AttentionRows<S>(call, row, std::min(row + kQueryRows, call.rows)).run();
  }
}

}  // namespace lockstep::kernels::cpu

// Causal attention over a paged cache, for every family S: online softmax (Milakov and Gimelshein,
// arXiv:1805.02867) in passes of 64 positions counted from position 0, and partial results of
// chunks of 512 combined in order (Dao et al., Flash-Decoding), so that a query's sums have one
// order however the prompt was chunked and whatever shares the batch.
//
// A tile of 16 positions holds its keys as [head_dim / 2][16 positions][2], so that sixteen scores
// are one register of bf16 dot products, and its values as [8 pairs of positions][head_dim][2].
#pragma once

#include <algorithm>
#include <limits>

#include "kernels/cpu/attention_scratch.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/simd_math.h"
#include "kernels/half.h"

namespace lockstep::kernels::cpu {

template <class S>
void store_kv(const float* k, const float* v, std::int64_t head_dim, std::uint16_t* k_tile,
              std::uint16_t* v_tile, std::int32_t slot) {
  for (std::int64_t d = 0; d < head_dim; ++d) {
    k_tile[(d / 2 * kTile + slot) * 2 + d % 2] = float_to_bf16(k[d]);
    v_tile[(slot / 2 * head_dim + d) * 2 + slot % 2] = float_to_bf16(v[d]);
  }
}

// The tiles of one pass.
struct PassTiles {
  const std::uint16_t* keys[kPassTiles];
  const std::uint16_t* values[kPassTiles];
};

inline constexpr std::int32_t tiles_of(std::int32_t positions) {
  return std::clamp((positions + kTile - 1) / kTile, 0, kPassTiles);
}

// scores[i][0, 16 * tiles) = q[i] . k for NQ queries. Two interleaved sums over head_dim.
template <class S, int NQ>
void score_tiles(const std::uint16_t* const (&q)[NQ], const PassTiles& pass, std::int32_t tiles,
                 std::int32_t head_dim, float* scores) {
  for (std::int32_t t = 0; t < tiles; ++t) {
    const std::uint16_t* keys = pass.keys[t];
    typename S::V sums[NQ][2];
    for (int i = 0; i < NQ; ++i) sums[i][0] = sums[i][1] = S::zero();
    for (std::int32_t d = 0; d < head_dim; d += 4) {
      const auto first = S::load_pairs(keys + d * kTile);
      const auto second = S::load_pairs(keys + (d + 2) * kTile);
#pragma GCC unroll 4
      for (int i = 0; i < NQ; ++i) {
        sums[i][0] = S::dot(sums[i][0], first, S::set_pair(q[i] + d));
        sums[i][1] = S::dot(sums[i][1], second, S::set_pair(q[i] + d + 2));
      }
    }
    for (int i = 0; i < NQ; ++i) {
      S::store(scores + i * kPass + t * kTile, S::add(sums[i][0], sums[i][1]));
    }
  }
}

// Adds the first `valid` (at least one) positions' scores to a query's softmax. Writes their weights in bf16 and
// returns what all that was weighed before must be multiplied by.
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
    const auto weight = exp_nonpositive<S>(S::sub(score[t], S::set(maximum)));
    total = S::add(total, weight);
    S::store_bf16(weights + t * kTile, weight);
  }
  // e^0 is 1 to the last bit, so it need not be computed.
  const float decay = state.maximum == maximum ? 1.0f : exp_of<S>(state.maximum - maximum);
  state.sum = state.sum * decay + S::sum(total);
  state.maximum = maximum;
  return decay;
}

// output[0, 16 * R) = output * decay + the weighted values of the first `valid` positions.
template <class S, int R>
void add_values(const PassTiles& pass, std::int64_t first_value, std::int32_t valid,
                std::int32_t head_dim, const std::uint16_t* weights, float decay, float* output) {
  typename S::V out[R];
  for (int r = 0; r < R; ++r) out[r] = S::mul(S::load(output + 16 * r), S::set(decay));
  for (std::int32_t t = 0; t * kTile < valid; ++t, weights += kTile) {
    const std::uint16_t* values = pass.values[t] + 2 * first_value;
    const std::int32_t left = std::min(kTile, valid - t * kTile);
    for (std::int32_t pair = 0; pair < left / 2; ++pair, values += 2 * head_dim) {
      const auto weight = S::set_pair(weights + 2 * pair);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) out[r] = S::dot(out[r], S::load_pairs(values + 32 * r), weight);
    }
    if (left % 2 == 0) continue;
    // The last pair's second place belongs to nobody yet: what lies there must not matter.
    const auto weight = S::first_of_pairs(S::set_pair(weights + left - 1));
    for (int r = 0; r < R; ++r) {
      out[r] = S::dot(out[r], S::first_of_pairs(S::load_pairs(values + 32 * r)), weight);
    }
  }
  for (int r = 0; r < R; ++r) S::store(output + 16 * r, out[r]);
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
  std::int32_t position(std::int32_t i) const { return first_position_ + i / call_.heads; }
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
    // Queries before this one lie before the pass.
    std::int32_t i = std::max(start - first_position_, 0) * call_.heads;
    for (; i + S::kTileQueries <= queries_; i += S::kTileQueries) {
      attend_queries<S::kTileQueries>(i, start, pass, part);
    }
    attend_rest<S::kTileQueries - 1>(i, start, pass, part);
  }

  // Fewer than a full tile of queries: at most NQ.
  template <int NQ>
  void attend_rest(std::int32_t i, std::int32_t start, const PassTiles& pass,
                   const AttentionPart& part) {
    if constexpr (NQ > 0) {
      if (queries_ - i == NQ) return attend_queries<NQ>(i, start, pass, part);
      attend_rest<NQ - 1>(i, start, pass, part);
    }
  }

  template <int NQ>
  void attend_queries(std::int32_t i, std::int32_t start, const PassTiles& pass,
                      const AttentionPart& part) {
    alignas(64) float scores[NQ][kPass];
    alignas(64) std::uint16_t weights[kPass];
    const std::uint16_t* q[NQ];
    for (int j = 0; j < NQ; ++j) q[j] = scratch_.query(i + j);
    score_tiles<S, NQ>(q, pass, tiles_of(position(i + NQ - 1) + 1 - start), call_.head_dim,
                       scores[0]);
    for (int j = 0; j < NQ; ++j) {
      const std::int32_t valid = std::min(position(i + j) + 1 - start, kPass);
      const float decay =
          add_scores<S>(scores[j], valid, call_.scale, part.states[i + j], weights);
      float* output = part.outputs + (i + j) * call_.head_dim;
      std::int32_t d = 0;
      for (; d + 64 <= call_.head_dim; d += 64) {
        add_values<S, 4>(pass, d, valid, call_.head_dim, weights, decay, output + d);
      }
      for (; d < call_.head_dim; d += 16) {
        add_values<S, 1>(pass, d, valid, call_.head_dim, weights, decay, output + d);
      }
    }
  }

  // Adds a chunk's result to that of the chunks before it.
  void combine(std::int32_t chunk) {
    for (std::int32_t i = std::max(chunk - first_position_, 0) * call_.heads; i < queries_; ++i) {
      SoftmaxState& total = scratch_.total.states[i];
      const SoftmaxState& part = scratch_.chunk.states[i];
      const float maximum = std::max(total.maximum, part.maximum);
      const float old_factor = exp_of<S>(total.maximum - maximum);
      const float new_factor = exp_of<S>(part.maximum - maximum);
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
  const AttentionScratch scratch_;
};

template <class S>
void attention(const AttentionCall& call) {
  for (std::int32_t row = 0; row < call.rows; row += kQueryRows) {
    AttentionRows<S>(call, row, std::min(row + kQueryRows, call.rows)).run();
  }
}

}  // namespace lockstep::kernels::cpu

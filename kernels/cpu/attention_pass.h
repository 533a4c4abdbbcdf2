// One pass of attention, over up to 64 positions: scores, their softmax so far (Milakov and
// Gimelshein, arXiv:1805.02867), weighted values. VectorPass is that of every family S without a
// matrix unit.
#pragma once

#include <algorithm>
#include <cstdint>
#include <limits>

#include "kernels/cpu/attention_scratch.h"
#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/kv_tiles.h"
#include "kernels/cpu/simd_math.h"

namespace lockstep::kernels::cpu {

inline constexpr float kLog2E = 1.44269504f;

inline constexpr std::int32_t tiles_of(std::int32_t positions) {
  return std::clamp((positions + kTile - 1) / kTile, 0, kPassTiles);
}

// What a pass works on. Query i is that of head i % heads in row i / heads of the call.
struct PassCall {
  const AttentionCall& call;
  const PassTiles& tiles;
  std::int32_t positions;    // from the first of the pass to that of the last row
  std::int32_t first_query;  // those before it lie before the pass
  std::int32_t queries;
  std::int32_t
      first_valid;  // positions from the first of the pass to that of row 0; maybe negative
  const AttentionScratch& scratch;
  const AttentionPart& part;  // that the pass adds to

  // How many positions of the pass a query attends.
  std::int32_t valid(std::int32_t query) const {
    return std::min(first_valid + query / call.heads, kPass);
  }
  float scale() const { return call.scale * kLog2E; }  // scores become powers of two
};

// Scores of NQ queries, `query_stride` apart, at the positions of NT tiles from tile `t` on. Each
// is one sum over head_dim.
template <class S, KvFormat F, int NQ, int NT>
void score_tiles(const std::uint16_t* q, std::int32_t query_stride, const PassTiles& pass,
                 std::int32_t t, std::int32_t head_dim, float (*scores)[kPass]) {
  typename S::V sums[NQ][NT];
  for (int i = 0; i < NQ; ++i) {
    for (int j = 0; j < NT; ++j) sums[i][j] = S::zero();
  }
  for (std::int32_t d = 0; d < head_dim; d += 2) {
    typename S::Pairs keys[NT];
    for (int j = 0; j < NT; ++j) {
      if constexpr (F == KvFormat::bf16) fetch_line(pass.ahead[t + j].keys + d * kTile * 2);
      keys[j] = S::load_pairs(pass.keys[t + j] + d * kTile);
    }
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
template <class S, KvFormat F>
float add_scores(float* scores, const PassTiles& pass, std::int32_t valid, float scale,
                 SoftmaxState& state, std::uint16_t* weights) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const std::int32_t tiles = tiles_of(valid);
  const auto scaled = [&](std::int32_t t) {
    auto factor = S::set(scale);
    if constexpr (F == KvFormat::int8) factor = S::mul(factor, S::load(pass.key_scales[t]));
    return S::mul(S::load(scores + t * kTile), factor);
  };
  typename S::V score[kPassTiles];
  score[0] = scaled(0);
  for (std::int32_t t = 1; t < tiles; ++t) score[t] = scaled(t);
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
    auto weight = exp2_nonpositive<S>(S::sub(score[t], S::set(maximum)));
    total = S::add(total, weight);
    if constexpr (F == KvFormat::int8) weight = S::mul(weight, S::load(pass.value_scales[t]));
    S::store_bf16(weights + t * kTile, weight);
  }
  // 2^0 is 1 to the last bit, so it need not be computed.
  const float decay = state.maximum == maximum ? 1.0f : exp2_of<S>(state.maximum - maximum);
  state.sum = state.sum * decay + S::sum(total);
  state.maximum = maximum;
  return decay;
}

// outputs[i][0, 16 * R) = outputs[i] * decay[i] + the weighted values of the first `valid`
// positions, for NQ queries, `output_stride` apart.
template <class S, KvFormat F, int NQ, int R>
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
    const std::int64_t place = 2 * (position % kTile / 2 * head_dim + first_value);
    const std::uint16_t* values = pass.values[position / kTile] + place;
    typename S::Pairs value[R];
    for (int r = 0; r < R; ++r) {
      if constexpr (F == KvFormat::bf16) {
        fetch_line(pass.ahead[position / kTile].values + 2 * (place + 32 * r));
      }
      value[r] = S::load_pairs(values + 32 * r);
    }
#pragma GCC unroll 4
    for (int i = 0; i < NQ; ++i) {
      const auto weight = S::set_pair(weights[i] + position);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) out[i][r] = S::dot(out[i][r], value[r], weight);
    }
  }
  if (valid % 2 == 1) {
    // The last pair's second place belongs to nobody yet: what lies there must not matter.
    const std::uint16_t* values =
        pass.values[(valid - 1) / kTile] + 2 * ((valid - 1) % kTile / 2 * head_dim + first_value);
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

template <class S, KvFormat F>
class VectorPass {
 public:
  // Whether long runs of keys and values are left to the processor's own streams.
  static constexpr bool kRunsStream = true;

  struct InUse {
    explicit InUse(std::int32_t) {}
  };

  static void attend(const PassCall& pass) {
    // Queries that attend the same positions share their loads: a row's, or where the pass lies
    // before all rows, everybody's.
    const std::int32_t alike = pass.first_valid >= kPass ? pass.queries : pass.call.heads;
    for (std::int32_t i = pass.first_query; i < pass.queries;) {
      const std::int32_t end = i + alike;
      for (; i + S::kTileQueries <= end; i += S::kTileQueries) {
        attend_queries<S::kTileQueries>(pass, i);
      }
      attend_rest<S::kTileQueries - 1>(pass, i, end - i);
      i = end;
    }
  }

 private:
  // Fewer than a full tile of queries: at most NQ.
  template <int NQ>
  static void attend_rest(const PassCall& pass, std::int32_t i, std::int32_t count) {
    if constexpr (NQ > 0) {
      if (count == NQ) return attend_queries<NQ>(pass, i);
      attend_rest<NQ - 1>(pass, i, count);
    }
  }

  // Queries i ... i + NQ - 1, which attend the same positions.
  template <int NQ>
  static void attend_queries(const PassCall& pass, std::int32_t i) {
    alignas(64) float scores[NQ][kPass];
    alignas(64) std::uint16_t weights[NQ][kPass];
    const std::int32_t valid = pass.valid(i);
    const std::int32_t tiles = tiles_of(valid);
    const std::int32_t head_dim = pass.call.head_dim;
    const std::uint16_t* query = pass.scratch.query(i);
    std::int32_t t = 0;
    // One row's keys come from memory, which streams one tile faster than several side by side.
    for (; pass.call.rows > 1 && t + S::kScoreTiles <= tiles; t += S::kScoreTiles) {
      score_tiles<S, F, NQ, S::kScoreTiles>(query, head_dim, pass.tiles, t, head_dim, scores);
    }
    for (; t < tiles; ++t) {
      score_tiles<S, F, NQ, 1>(query, head_dim, pass.tiles, t, head_dim, scores);
    }
    float decay[NQ];
    for (int j = 0; j < NQ; ++j) {
      decay[j] = add_scores<S, F>(scores[j], pass.tiles, valid, pass.scale(),
                                  pass.part.states[i + j], weights[j]);
    }
    float* outputs = pass.part.outputs + i * head_dim;
    constexpr int R = S::kValueRegisters;
    std::int32_t d = 0;
    for (; d + 16 * R <= head_dim; d += 16 * R) {
      add_values<S, F, NQ, R>(pass.tiles, d, valid, head_dim, weights, decay, outputs + d,
                              head_dim);
    }
    for (; d < head_dim; d += 16) {
      add_values<S, F, NQ, 1>(pass.tiles, d, valid, head_dim, weights, decay, outputs + d,
                              head_dim);
    }
  }
};

}  // namespace lockstep::kernels::cpu

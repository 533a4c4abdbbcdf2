// A pass of attention on a matrix unit U: up to 16 queries at a time by the cache's tiles as they
// lie in memory, keys and values being pairs there already.
#pragma once

#include "kernels/cpu/attention_body.h"
#include "kernels/cpu/for_each_index.h"
#include "kernels/cpu/matrix_unit.h"
#include "kernels/cpu/simd_avx512_bf16.h"
#include "kernels/cpu/unit_sums.h"

namespace lockstep::kernels::cpu {

template <class U, KvFormat F>
class UnitPass {
 public:
  // Processors with a unit read even runs faster when all lines are asked for.
  static constexpr bool kRunsStream = false;

  class InUse {
   public:
    explicit InUse(std::int32_t queries) { U::configure_attention(at_once(queries)); }
    ~InUse() { U::release(); }
    InUse(const InUse&) = delete;
    InUse& operator=(const InUse&) = delete;
  };

  static void attend(const PassCall& pass) {
    PassTiles tiles = pass.tiles;
    keep_strangers_out(pass, tiles);
    const std::int32_t step = at_once(pass.queries);
    for (std::int32_t i = pass.first_query; i < pass.queries; i += step) {
      attend_queries(pass, tiles, i, std::min(step, pass.queries - i));
    }
  }

 private:
  using S = Avx512Bf16Simd;
  static constexpr std::int64_t kHalf = sizeof(std::uint16_t);

  // All queries in as few tiles as they need, and these alike.
  static std::int32_t at_once(std::int32_t queries) {
    const std::int32_t tiles = (queries + kQueryTile - 1) / kQueryTile;
    return (queries + tiles - 1) / tiles;
  }

  // Behind the last position lie values of nobody, which need not be numbers: weighed by zero, they
  // must be zero.
  static void keep_strangers_out(const PassCall& pass, PassTiles& tiles) {
    const std::int32_t in_last = pass.positions % kTile;
    if (pass.positions > kPass || in_last == 0) return;
    const std::int32_t last = pass.positions / kTile, head_dim = pass.call.head_dim;
    std::uint16_t* own = pass.scratch.tiles + (2 * last + 1) * kTile * head_dim;
    const std::int64_t whole_pairs = std::int64_t{in_last / 2} * 2 * head_dim;
    if (own != tiles.values[last]) std::copy_n(tiles.values[last], kTile * head_dim, own);
    std::int64_t from = whole_pairs;
    for (; in_last % 2 == 1 && from < whole_pairs + 2 * head_dim; from += 2) own[from + 1] = 0;
    std::fill_n(own + from, kTile * head_dim - from, std::uint16_t{0});
    tiles.values[last] = own;
  }

  // `count` queries from query i on. The unit works on so many that there may be some more.
  static void attend_queries(const PassCall& pass, const PassTiles& tiles, std::int32_t i,
                             std::int32_t count) {
    alignas(64) float scores[kQueryTile][kPass];
    alignas(64) std::uint16_t weights[kQueryTile][kPass];
    float decay[kQueryTile];
    const std::int32_t used = tiles_of(pass.positions);
    score(pass, tiles, used, i, scores);
    for (std::int32_t j = 0; j < count; ++j) {
      const std::int32_t valid = pass.valid(i + j);
      decay[j] = add_scores<S, F>(scores[j], tiles, valid, pass.scale(), pass.part.states[i + j],
                                  weights[j]);
      std::fill_n(weights[j] + valid, used * kTile - valid, std::uint16_t{0});
    }
    const std::int32_t head_dim = pass.call.head_dim;
    for (std::int32_t d = 0; d < head_dim; d += 64) {
      add_values(pass, tiles, used, weights, decay, i, count, d, std::min(head_dim - d, 64));
    }
  }

  static void score(const PassCall& pass, const PassTiles& tiles, std::int32_t used, std::int32_t i,
                    float (*scores)[kPass]) {
    const std::int32_t head_dim = pass.call.head_dim;
    for_each_index<kPassTiles>([]<int T>() { U::template zero<T>(); });
    for (std::int32_t d = 0; d < head_dim; d += 32) {
      U::load_queries(pass.scratch.query(i) + d, head_dim * kHalf);
      for_each_index<kPassTiles>([&]<int T>() {
        if (T >= used) return;
        U::load_keys(tiles.keys[T] + d * kTile);
        U::template score<T>();
        if constexpr (F == KvFormat::bf16) {
          prefetch_to_second(tiles.ahead[T].keys + d * kTile * kHalf, 32 * kTile * kHalf);
        }
      });
    }
    for_each_index<kPassTiles>([&]<int T>() {
      if (T < used) U::template store<T>(scores[0] + T * kTile, kPass * sizeof(float));
    });
  }

  // outputs[d, d + width) = outputs * decay + the weighted values.
  static void add_values(const PassCall& pass, const PassTiles& tiles, std::int32_t used,
                         const std::uint16_t (*weights)[kPass], const float* decay, std::int32_t i,
                         std::int32_t count, std::int32_t d, std::int32_t width) {
    alignas(64) float sums[kQueryTile][64];
    const std::int32_t head_dim = pass.call.head_dim;
    for_each_index<4>([]<int R>() { U::template zero<R>(); });
    for (std::int32_t t = 0; t < used; ++t) {
      U::load_shares(weights[0] + t * kTile, kPass * kHalf);
      for_each_index<4>([&]<int R>() {
        if (16 * R >= width) return;
        U::load_values(tiles.values[t] + 2 * (d + 16 * R), 2 * head_dim * kHalf);
        U::template weigh<R>();
      });
      if constexpr (F == KvFormat::bf16) {
        if (d == 0) prefetch_to_second(tiles.ahead[t].values, kTile * head_dim * kHalf);
      }
    }
    for_each_index<4>([&]<int R>() {
      if (16 * R < width) U::template store<R>(sums[0] + 16 * R, 64 * sizeof(float));
    });
    for (std::int32_t j = 0; j < count; ++j) {
      float* out = pass.part.outputs + (i + j) * head_dim + d;
      const auto factor = S::set(decay[j]);
      for (std::int32_t k = 0; k < width; k += 16) {
        S::store(out + k, S::fma(S::load(out + k), factor, S::load(sums[j] + k)));
      }
    }
  }

  static void prefetch_to_second(const std::byte* from, std::int64_t bytes) {
    for (std::int64_t line = 0; line < bytes; line += 64) fetch_line(from + line);
  }
};

template <class U>
struct UnitAttention {
  template <KvFormat F>
  using Pass = UnitPass<U, F>;
  using Operations = AttentionOf<Avx512Bf16Simd, Pass>;
};

}  // namespace lockstep::kernels::cpu

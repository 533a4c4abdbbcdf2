// The sizes of attention's work and the memory of one call.
#pragma once

#include <cstdint>

#include "kernels/kv_format.h"

namespace lockstep::kernels::cpu {

inline constexpr std::int32_t kTile = kKvTile;
inline constexpr std::int32_t kPassTiles = 4;
inline constexpr std::int32_t kPass = kTile * kPassTiles;  // positions per step of a softmax
inline constexpr std::int32_t kQueryRows = 8;  // query positions that share one pass over the cache
// Queries that a matrix unit takes at once; it may read so many more than there are.
inline constexpr std::int32_t kQueryTile = 16;

// One query's running softmax; its weighted values lie beside it.
struct SoftmaxState {
  float maximum;
  float sum;
};

// What some positions give to every query.
struct AttentionPart {
  AttentionPart(float* memory, std::int64_t queries, std::int64_t head_dim)
      : outputs(memory), states(reinterpret_cast<SoftmaxState*>(memory + queries * head_dim)) {}

  static std::int64_t floats(std::int64_t queries, std::int64_t head_dim) {
    return queries * (head_dim + 2);
  }

  float* outputs;  // [queries, head_dim]
  SoftmaxState* states;
};

struct AttentionScratch {
  AttentionScratch(float* memory, std::int64_t queries, std::int64_t head_dim)
      : total(memory, queries, head_dim),
        chunk(memory + AttentionPart::floats(queries, head_dim), queries, head_dim),
        tiles(reinterpret_cast<std::uint16_t*>(memory +
                                               2 * AttentionPart::floats(queries, head_dim))),
        queries_(tiles + 2 * kPass * head_dim),
        head_dim_(head_dim) {}

  static std::int64_t floats(std::int64_t queries, std::int64_t head_dim) {
    return 2 * AttentionPart::floats(queries, head_dim) + kPass * head_dim +
           ((queries + kQueryTile) * head_dim + 1) / 2;
  }

  std::uint16_t* query(std::int64_t i) const { return queries_ + i * head_dim_; }

  AttentionPart total;
  AttentionPart chunk;
  std::uint16_t* tiles;  // keys and values of a pass that are not to be read where they are stored

 private:
  std::uint16_t* queries_;  // bf16, [queries, head_dim]
  std::int64_t head_dim_;
};

}  // namespace lockstep::kernels::cpu

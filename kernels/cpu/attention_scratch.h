// The sizes of attention's work and the memory of one call.
#pragma once

#include <cstdint>

namespace lockstep::kernels::cpu {

inline constexpr std::int32_t kTile = 16;  // positions in one register
inline constexpr std::int32_t kPassTiles = 4;
inline constexpr std::int32_t kPass = kTile * kPassTiles;  // positions per step of a softmax
inline constexpr std::int32_t kAttentionChunk = 512;       // positions whose result stands alone
inline constexpr std::int32_t kQueryRows = 8;  // query positions that share one pass over the cache

// One query's running softmax; its weighted values lie beside it.
struct SoftmaxState {
  float maximum;
  float sum;
};

// What some positions give to every query.
struct AttentionPart {
  float* outputs;  // [queries, head_dim]
  SoftmaxState* states;
};

struct AttentionScratch {
  AttentionScratch(float* memory, std::int64_t queries, std::int64_t head_dim)
      : total{memory, reinterpret_cast<SoftmaxState*>(memory + queries * head_dim)},
        chunk{memory + queries * (head_dim + 2),
              reinterpret_cast<SoftmaxState*>(memory + queries * (2 * head_dim + 2))},
        queries_(reinterpret_cast<std::uint16_t*>(memory + queries * (2 * head_dim + 4))),
        head_dim_(head_dim) {}

  static std::int64_t floats(std::int64_t queries, std::int64_t head_dim) {
    return queries * (2 * head_dim + 4) + (queries * head_dim + 1) / 2;
  }

  std::uint16_t* query(std::int64_t i) const { return queries_ + i * head_dim_; }

  AttentionPart total;
  AttentionPart chunk;

 private:
  std::uint16_t* queries_;  // bf16, [queries, head_dim]
  std::int64_t head_dim_;
};

}  // namespace lockstep::kernels::cpu

// Rotary position embedding (Su et al., arXiv:2104.09864) of queries and keys, and the new keys'
// and values' way into the cache.
#pragma once

#include <cstdint>

#include "kernels/cuda/grid.h"
#include "kernels/cuda/paged_cache.h"

namespace lockstep::kernels::cuda {

// Pairs (i, i + head_dim / 2) are rotated: Hugging Face's layout. A value is divided by its scale,
// then rounded to the nearest even.
struct RopeKvArgs {
  // What the products gave, in f32, rows `stride` apart:
  const float* q;          // [rows, query_heads, head_dim]
  const float* k;          // [rows, cache.heads, head_dim]
  const float* v;          // [rows, cache.heads, head_dim]
  std::int64_t stride;     // a multiple of 4
  const float* cos;        // [positions, head_dim / 2]
  const float* sin;        // the same
  const RowPlace* places;  // [rows], all different; these and the tables no kernel writes
  BlockTables tables;
  std::uint16_t* rotated_q;  // bf16 [rows, query_heads, head_dim]
  PagedCache cache;
  std::int32_t rows;
  std::int32_t query_heads;
  // What a model adds to q, k and v before, one behind the other; null: nothing.
  const float* bias = nullptr;  // [query_heads + 2 * cache.heads, head_dim]
  // The weights of the RMSNorm of each head of queries and of keys, after the bias and before the
  // rotation; null: none. REQUIRES of them can_norm_heads(head_dim).
  const float* query_norm = nullptr;  // [head_dim]
  const float* key_norm = nullptr;    // [head_dim]
  float eps = 0;
};

// Whether a head's threads share a warp evenly.
constexpr bool can_norm_heads(std::int32_t head_dim) {
  return head_dim % 8 == 0 && head_dim <= 256 && (head_dim & (head_dim - 1)) == 0;
}

// Threads for a row's queries and keys, one for every eight numbers, in whole warps; then one for
// every four of its values.
constexpr std::int64_t rotating_threads(const RopeKvArgs& args) {
  return divide_up((args.query_heads + args.cache.heads) * args.cache.head_dim / 8, kWarp) * kWarp;
}
constexpr Grid rope_kv_grid(const RopeKvArgs& args) {
  constexpr int kThreads = 256;
  const std::int64_t storing = args.cache.heads * args.cache.head_dim / 4;
  return {.x = args.rows,
          .y = divide_up(rotating_threads(args) + storing, kThreads),
          .threads = kThreads};
}

void launch_rope_kv(const RopeKvArgs& args, StreamHandle stream);

}  // namespace lockstep::kernels::cuda

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
};

// A thread for every eight numbers of a row's queries and keys, and for every four of its values.
constexpr Grid rope_kv_grid(const RopeKvArgs& args) {
  constexpr int kThreads = 256;
  const std::int64_t eights = args.query_heads + 3 * std::int64_t{args.cache.heads};
  return {.x = args.rows,
          .y = divide_up(eights * args.cache.head_dim / 8, kThreads),
          .threads = kThreads};
}

void launch_rope_kv(const RopeKvArgs& args, StreamHandle stream);

}  // namespace lockstep::kernels::cuda

// Causal attention over a paged cache, for decoding and for prompts: an oracle and a fallback,
// clear rather than fast with prompts, of which every row reads all its keys by itself.
//
// Positions are taken in chunks of 256 counted from position 0. What a chunk gives depends on
// nothing outside it, and chunks are combined in their order (Dao et al., Flash-Decoding): a
// query's result is the same however its prompt was cut, whatever shares the batch, and whether one
// block computed all chunks or each another.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cuda/grid.h"
#include "kernels/cuda/paged_cache.h"

namespace lockstep::kernels::cuda {

inline constexpr std::int32_t kChunkPositions = 256;
inline constexpr std::int32_t kMaxHeadDim = 256;

// Query heads that one block computes, because they share a key-value head.
inline constexpr std::int32_t kRunHeads = 4;
struct HeadRun {
  std::int32_t head;         // of the cache
  std::int32_t first_query;  // of this rank
  std::int32_t queries;      // at most kRunHeads
};

// The runs of a rank whose key-value head i has the query heads [first_query[i], first_query[i +
// 1]).
std::vector<HeadRun> head_runs(std::span<const std::int32_t> first_query);

struct AttentionArgs {
  const std::uint16_t* q;  // bf16 [rows, query_heads, head_dim]
  PagedCache cache;        // holds positions up to that of every row
  BlockTables tables;
  const RowPlace* places;  // [rows]
  const HeadRun* runs;     // [num_runs]
  std::uint16_t* out;      // bf16 [rows, query_heads, head_dim]
  // Null: one block computes all chunks of a row. Else attention_part_floats() floats, and each
  // chunk has a block of its own: for few rows of long sequences.
  float* parts;
  std::int32_t rows;
  std::int32_t query_heads;
  std::int32_t num_runs;
  std::int32_t chunks;  // of the longest row
  float scale;          // 1 / sqrt(head_dim)
};

constexpr std::int32_t chunks_up_to(std::int32_t position) {
  return position / kChunkPositions + 1;
}

// What one chunk leaves of a query head: its sum of weighted values [head_dim], the largest score
// and the sum of the weights, padded to whole packs.
constexpr std::int64_t part_stride(std::int32_t head_dim) { return head_dim + 4; }

constexpr std::int64_t attention_part_floats(std::int32_t rows, std::int32_t chunks,
                                             std::int32_t query_heads, std::int32_t head_dim) {
  return std::int64_t{rows} * chunks * query_heads * part_stride(head_dim);
}

// The shared memory of a block of the first kernel, in bytes from its start.
struct AttentionMemory {
  std::int32_t head_dim;
  constexpr std::int32_t subsets() const {
    return kThreads / (head_dim / 8);
  }  // of a chunk's positions

  static constexpr std::int32_t kThreads = kChunkPositions;  // one a position
  static constexpr std::int64_t kFloat = sizeof(float);
  constexpr std::int64_t positions() const { return 0; }  // [positions] of the cache
  constexpr std::int64_t queries() const {
    return kChunkPositions * std::int64_t{sizeof(std::int64_t)};
  }
  constexpr std::int64_t scores() const {
    return queries() + outputs_bytes();
  }  // [heads, positions]
  constexpr std::int64_t states() const { return scores() + kRunHeads * kChunkPositions * kFloat; }
  constexpr std::int64_t total_states() const { return states() + 2 * kRunHeads * kFloat; }
  constexpr std::int64_t outputs() const { return total_states() + 2 * kRunHeads * kFloat; }
  constexpr std::int64_t totals() const { return outputs() + outputs_bytes(); }
  constexpr std::int64_t subset_outputs() const { return totals() + outputs_bytes(); }
  constexpr std::int64_t bytes() const { return subset_outputs() + subsets() * outputs_bytes(); }
  constexpr std::int64_t outputs_bytes() const { return kRunHeads * head_dim * kFloat; }
};

Grid attention_grid(const AttentionArgs& args);
Grid combine_grid(const AttentionArgs& args);

// Throws Error if head_dim is not a multiple of 32 up to 256.
void launch_attention(const AttentionArgs& args, StreamHandle stream);

}  // namespace lockstep::kernels::cuda

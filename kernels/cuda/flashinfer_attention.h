// Causal attention over a paged cache by FlashInfer's kernel (Ye et al., arXiv:2501.01005), version
// 0.6.7.post3, for decoding and for prompts: what kernels/cuda/attention.h computes, faster with
// prompts and with other bits. docs/decisions.md says what is fixed so that a row's bits depend on
// its position and its keys alone.
//
// Linked only where FlashInfer was found at configuration time (flashinfer_built_in()).
#pragma once

#include <cstdint>

#include "kernels/cuda/flashinfer_plan.h"
#include "kernels/cuda/grid.h"
#include "kernels/cuda/paged_cache.h"

namespace lockstep::kernels::cuda {

struct FlashInferArgs {
  const std::uint16_t* q;      // bf16 [rows, query_heads, head_dim]
  PagedCache cache;            // holds positions up to that of every row, and only finite numbers
  const std::int32_t* blocks;  // the block tables
  const std::byte* plan;       // on the device, as plan_flashinfer() wrote it
  float* values;               // [parts, query_heads, head_dim]: for the layout's limits.parts
  float* weights;              // [parts, query_heads]
  std::uint16_t* out;          // bf16 [rows, query_heads, head_dim]
  std::int32_t query_heads;    // a whole multiple of the cache's heads
  float scale;                 // 1 / sqrt(head_dim)
};

// Blocks of a launch beyond the wave's own items, which then have nothing to do: for graphs.
struct FlashInferGrid {
  std::int32_t short_items;
  std::int32_t long_items;
  std::int32_t rows;
};
constexpr FlashInferGrid grid_of(const FlashInferWave& wave) {
  return {wave.short_items, wave.long_items, wave.rows};
}

// Attends for one wave's rows. `grid` has at least the wave's items and rows, and more only if the
// plan has one wave. Rows past the batch's are then written, too: with zeros. Throws Error if
// FlashInfer is not built in or does not serve this shape (attention_backend.h).
void launch_flashinfer(const FlashInferArgs& args, const FlashInferLayout& layout,
                       const FlashInferWave& wave, const FlashInferGrid& grid, StreamHandle stream);

bool flashinfer_built_in();

// The combination of parts, a step of launch_flashinfer().
struct FlashInferCombineArgs {
  const float* values;             // [parts, query_heads, head_dim]
  const float* weights;            // [parts, query_heads]: base-2 logarithms
  const std::int32_t* row_part;    // [rows]
  const std::int32_t* row_chunks;  // [rows]; 0: no part, the row is zeros
  std::uint16_t* out;              // bf16 [rows, query_heads, head_dim]
  std::int32_t rows;
  std::int32_t query_heads;
  std::int32_t head_dim;  // a multiple of 4
  float value_scale;
};

// The combination of one wave's parts.
inline FlashInferCombineArgs combination_of(const FlashInferArgs& args,
                                            const FlashInferLayout& layout,
                                            const FlashInferWave& wave,
                                            const FlashInferGrid& grid) {
  const auto ints = [&](std::int64_t offset) {
    return reinterpret_cast<const std::int32_t*>(args.plan + offset) + wave.first_row;
  };
  return {.values = args.values,
          .weights = args.weights,
          .row_part = ints(layout.row_part),
          .row_chunks = ints(layout.row_chunks),
          .out = args.out + std::int64_t{wave.first_row} * args.query_heads * args.cache.head_dim,
          .rows = grid.rows,
          .query_heads = args.query_heads,
          .head_dim = args.cache.head_dim,
          .value_scale = args.cache.value_scale};
}

constexpr Grid flashinfer_combine_grid(const FlashInferCombineArgs& args) {
  constexpr std::int32_t kThreads = 128;
  return {.x = args.rows,
          .y = divide_up(std::int64_t{args.query_heads} * args.head_dim, 4 * kThreads),
          .threads = kThreads};
}

}  // namespace lockstep::kernels::cuda

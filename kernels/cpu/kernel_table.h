// The operations of one CPU family: what kernels/*.h dispatch to, chosen once at start-up.
#pragma once

#include <cstdint>

#include "kernels/lanes.h"
#include "kernels/packed_matrix.h"

namespace lockstep::kernels::cpu {

// Activations of a quantized product: per row and group of 32 columns, value = scale * byte.
struct QuantizedRows {
  std::int8_t* values;  // [rows, columns]
  float* scales;        // [rows, columns / 32]
  std::int32_t* sums;   // [rows, columns / 32]: of the group's bytes
};

// One call of a product: row blocks [block_begin, block_end) of `weights`, all `m` activation rows.
struct LinearCall {
  const PackedMatrix* weights;
  const float* x;           // [m, columns], for float weights
  QuantizedRows quantized;  // for q4 and q8 weights
  std::int64_t m;
  const LaneStep* steps;
  std::int32_t num_steps;
  std::int64_t block_begin;
  std::int64_t block_end;
  float* out;  // element (segment, row, n) at segment * segment_stride + row * row_stride + n
  std::int64_t row_stride;
  std::int64_t segment_stride;
};

// Attention of some query rows of one sequence over the paged cache of one key-value head.
struct AttentionCall {
  const float* q;  // [rows, query_stride]: the head group's queries start here
  float* out;      // [rows, query_stride], same place
  std::int64_t query_stride;
  std::int32_t rows;  // query positions first_position ... first_position + rows - 1
  std::int32_t first_position;
  std::int32_t heads;          // query heads that share this key-value head
  std::int32_t head_dim;       // multiple of 16
  float scale;                 // 1 / sqrt(head_dim)
  const std::uint16_t* cache;  // this layer's keys and values of block 0 of this head
  std::int64_t block_stride;   // elements from one block to the next
  std::int64_t value_offset;   // elements from a block's keys to its values
  std::int32_t tiles_per_block;
  const std::int32_t* block_table;
  float* scratch;  // attention_scratch_floats() of this thread
};

struct KernelTable {
  const char* name;
  void (*linear)(const LinearCall&);
  void (*quantize_rows)(const float* x, std::int64_t rows, std::int64_t columns, QuantizedRows out);
  void (*rms_norm)(const float* x, const float* weight, float eps, std::int64_t columns,
                   float* out);
  void (*silu_mul)(const float* gate, const float* up, std::int64_t n, float* out);
  void (*add)(const float* a, const float* b, std::int64_t n, float* out);
  void (*rope)(float* head, const float* cos, const float* sin, std::int64_t head_dim);
  void (*store_kv)(const float* k, const float* v, std::int64_t head_dim, std::uint16_t* k_tile,
                   std::uint16_t* v_tile, std::int32_t slot);
  void (*attention)(const AttentionCall&);
};

// Floats of scratch that one attention call needs.
std::int64_t attention_scratch_floats(std::int32_t heads, std::int32_t head_dim);

const KernelTable& scalar_table();
const KernelTable& avx2_table();
const KernelTable& avx512_table();

}  // namespace lockstep::kernels::cpu

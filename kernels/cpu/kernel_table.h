// The operations of one CPU family: what kernels/*.h dispatch to, chosen once at start-up.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/activation_format.h"
#include "kernels/kv_format.h"
#include "kernels/lanes.h"
#include "kernels/packed_matrix.h"

namespace lockstep::kernels::cpu {

// What a byte of a wide group counts, in units of its low bytes.
inline constexpr int kWideBase = 255;

// Activations in bytes: per row and group of 32 columns, value = scale * byte, or, where the group
// is wide, scale * (kWideBase * byte + low byte).
struct QuantizedRows {
  std::int8_t* values;  // bytes, rows value_stride apart
  std::int8_t* low;     // low bytes of wide groups; elsewhere whatever
  std::int64_t value_stride;
  // One per group of 32 columns, rows group_stride apart:
  float* scales;
  float* offsets;            // the sum of the group's values: what a minimum of 1 adds
  std::int32_t* biases;      // -128 * sum of the bytes: what undoes weights shifted by 128
  std::int32_t* low_biases;  // the same of a wide group's low bytes
  std::uint8_t* wide;        // whether the group is
  std::int64_t group_stride;
  // Whether groups become wide when rows are quantized, which looks at whole rows
  // (quantize_body.h): all columns are to be given then, on every rank.
  bool has_wide_groups;

  // The same from a row and a column on, which is a group's first.
  QuantizedRows from(std::int64_t row, std::int64_t column) const {
    QuantizedRows rest = *this;
    const std::int64_t value = row * value_stride + column;
    const std::int64_t group = row * group_stride + column / kGroup;
    rest.values += value;
    rest.low += value;
    rest.scales += group;
    rest.offsets += group;
    rest.biases += group;
    rest.low_biases += group;
    rest.wide += group;
    return rest;
  }
};

// Rows of a tile of activations (ActivationTiles).
inline constexpr std::int64_t kTileTokens = 16;

// Activations in bf16 as a matrix unit takes them: tiles of 16 rows by a group of 32 columns, a
// pair of columns of all rows side by side. Row r, column c of a tile is its element 32 * (c / 2) +
// 2 * r + c % 2. The tiles of 16 rows follow each other in the order of columns.
struct ActivationTiles {
  std::uint16_t* values;    // the tile of row 0 and column 0
  std::int64_t row_stride;  // elements from the tile of a row to that of the row 16 further on
};

// Activations in the forms that products take; a form that is not asked for may be null.
struct ActivationRows {
  float* values;  // rows `stride` apart
  std::int64_t stride;
  std::uint16_t* halves;  // bf16, rows half_stride apart
  std::int64_t half_stride;
  float* half_sums;  // of each group of 32 halves, rows bytes.group_stride apart
  QuantizedRows bytes;
  ActivationTiles tiles = {};
};

// One call of a product: row blocks [block_begin, block_end) of `weights`, all `m` activation rows.
struct LinearCall {
  const PackedMatrix* weights;
  ActivationFormat activations;  // REQUIRES: suits() the weights
  ActivationRows x;              // in tiles, where the weights lie in rows
  std::int64_t m;
  const LaneStep* steps;
  std::int32_t num_steps;
  std::int64_t block_begin = 0;
  std::int64_t block_end = 0;
  // Element (segment, row, n) goes to segment * segment_stride + row * row_stride + n.
  float* out = nullptr;
  std::int64_t row_stride = 0;
  std::int64_t segment_stride = 0;
};

// silu(x * gate^T) * (x * up^T), the inner activations of a SwiGLU MLP, in groups of 32 columns
// [group_begin, group_end): they leave as they enter the next product, without a pass over memory.
struct SwigluCall {
  LinearCall gate;  // its block range and its destination are not looked at
  const PackedMatrix* up;
  // Both lie in one matrix, `gate` and `up` being the same: 32 rows of gate, then 32 of up, and so
  // on. The weights are one stream of memory then.
  bool interleaved;
  ActivationFormat up_activations;
  ActivationRows out;  // column 0 is that of row 0 of `gate`
  // Which forms of `out` are written.
  bool out_f32;
  bool out_bf16;
  bool out_int8;
  bool out_tiles;
  std::int64_t group_begin;
  std::int64_t group_end;
};

// Positions that attention takes as one, counted from position 0: what such a chunk gives depends
// on nothing outside it, and chunks are combined in their order.
inline constexpr std::int32_t kAttentionChunk = 512;

// Attention of some query rows of one sequence over the paged cache of one key-value head.
struct AttentionCall {
  const float* q;  // [rows, query_stride]: the first query head starts here
  float* out;      // [rows, out_stride], same place
  std::int64_t query_stride;
  std::int64_t out_stride;
  std::int32_t rows;  // query positions first_position ... first_position + rows - 1
  std::int32_t first_position;
  std::int32_t heads;     // query heads that share this key-value head
  std::int32_t head_dim;  // multiple of 32
  float scale;            // 1 / sqrt(head_dim)
  KvFormat format;
  const std::byte* cache;     // this layer's keys and values of block 0 of this head
  std::int64_t block_stride;  // bytes from one block to the next
  std::int64_t value_offset;  // bytes from a block's keys to its values
  std::int32_t tiles_per_block;
  const std::int32_t* block_table;
  float* scratch;  // attention_scratch_floats() of this thread
  // Of the same head_dim and cache format, and of one row: whose first keys and values are fetched
  // early, while up to kQueryRows rows are attended. Null: none.
  const AttentionCall* next = nullptr;
};

struct KernelTable {
  const char* name;
  // How this family wants the weights that it multiplies by bf16. In rows: it has a matrix unit.
  PackedLayout bf16_layout;
  void (*linear)(const LinearCall&);
  void (*swiglu)(const SwigluCall&);
  // Fills x.bytes, x.halves or x.tiles of `rows` rows from x.values. Tiles are whole: row 0 is the
  // first of one, and those that are missing in the last are zeros. (Null: this family wants none.)
  void (*quantize_rows)(const ActivationRows& x, std::int64_t rows, std::int64_t columns);
  void (*round_rows)(const ActivationRows& x, std::int64_t rows, std::int64_t columns);
  void (*tile_rows)(const ActivationRows& x, std::int64_t rows, std::int64_t columns);
  void (*rms_norm)(const float* x, const float* weight, float eps, std::int64_t columns,
                   float* out);
  void (*add)(const float* a, const float* b, std::int64_t n, float* out);
  void (*rope)(float* head, const float* cos, const float* sin, std::int64_t head_dim);
  // Puts a position's key and value of one head into place `slot` of their tiles (kv_format.h).
  void (*store_kv)(KvFormat, const float* k, const float* v, std::int64_t head_dim,
                   std::byte* k_tile, std::byte* v_tile, std::int32_t slot);
  void (*attention)(const AttentionCall&);
  // The same in pieces, for several threads: the rows' part from each chunk up to the last one's
  // position, then all of them, one after the other in memory, combined. REQUIRES: rows <=
  // kQueryRows.
  void (*attention_chunk)(const AttentionCall&, std::int32_t chunk, float* part);
  void (*combine_chunks)(const AttentionCall&, float* parts);
};

// Floats of scratch that one attention call needs.
std::int64_t attention_scratch_floats(std::int32_t heads, std::int32_t head_dim);
// Floats of a chunk's part; `queries`: rows times heads.
std::int64_t attention_part_floats(std::int32_t queries, std::int32_t head_dim);

const KernelTable& scalar_table();
const KernelTable& avx2_table();
const KernelTable& avx512_table();
const KernelTable& avx512_bf16_table();
const KernelTable& amx_table();

}  // namespace lockstep::kernels::cpu

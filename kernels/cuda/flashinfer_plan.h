// What FlashInfer's kernel of paged attention has to be told of a batch, worked out on the host.
//
// Rows that follow each other in a sequence are cut into tiles. A tile is one of the kernel's
// "requests": its last row is the last position it has keys of. Its keys are taken in chunks of
// kFlashInferChunk positions counted from position 0; an item is a tile's work on one chunk and
// leaves one part per row: a weighted mean of values and the base-2 logarithm of its weight. Parts
// are combined afterwards in the order of chunks (flashinfer_combine.cuh).
//
// Nothing here is a choice that changes a row's bits: docs/decisions.md says what is fixed for
// that.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "kernels/cuda/paged_cache.h"

namespace lockstep::kernels::cuda {

// Positions that one block of threads takes, however long the sequence is. A multiple of the 64
// keys that the kernel takes at a time. Smaller: more blocks for one long sequence; larger: fewer
// parts.
inline constexpr std::int32_t kFlashInferChunk = 1024;

// Rows of a tile times query heads per key-value head: short tiles (one warp) are for decoding,
// long ones (four warps) for prompts. Both sum in the same order.
inline constexpr std::int32_t kShortTile = 16;
inline constexpr std::int32_t kLongTile = 128;

struct FlashInferShape {
  std::int32_t group;       // query heads per key-value head, 1 to kShortTile
  std::int32_t block_size;  // positions of a block of the cache
  std::int64_t stride;      // of the block tables: blocks a sequence
  std::int32_t sequences;   // in the block tables
  // Positions of a chunk, a multiple of 64. Another one gives other bits: bench/cuda_kernels.cc
  // asks what it costs.
  std::int32_t chunk = kFlashInferChunk;
};

// The most of everything that a plan may hold; it fixes the addresses in the buffer.
struct FlashInferLimits {
  std::int32_t rows;
  std::int32_t short_items;  // of short tiles; tiles are never more than their items
  std::int32_t long_items;   // of long tiles; 0 where rows only decode
  std::int64_t parts;        // room for parts at a time: FlashInferArgs::values and ::weights
};

// Tiles of one kind, as arrays in the buffer. Offsets in bytes.
struct FlashInferTiles {
  std::int64_t first_row;    // int32 [items]: a tile's first row in the batch
  std::int64_t rows;         // int32 [items]
  std::int64_t keys;         // int32 [items]: positions up to the tile's last row
  std::int64_t first_block;  // int32 [items + 1]: into the block tables; then where these end
  std::int64_t first_part;   // int32 [items]
  std::int64_t tile;         // int32 [items]: an item's tile
  std::int64_t chunk;        // int32 [items]: an item's chunk
  std::int64_t zeros;        // int32 [items]: FlashInfer's number of a tile in its request
  std::int64_t valid;        // bool [items]
};

// Where everything lies in the buffer of a plan. The same limits give the same places, so a CUDA
// graph stays right when another plan is uploaded.
struct FlashInferLayout {
  explicit FlashInferLayout(const FlashInferLimits& limits);
  FlashInferLimits limits;
  FlashInferTiles short_tiles, long_tiles;
  std::int64_t row_part;    // int32 [rows]: a row's first part; the others follow it
  std::int64_t row_chunks;  // int32 [rows]
  std::int64_t chunk_size;  // int32: the shape's chunk
  std::int64_t bytes;       // of the whole buffer
};

// Rows whose parts fit at the same time: one launch of each kernel.
struct FlashInferWave {
  std::int32_t first_row, rows;
  std::int32_t first_short_item, short_items;
  std::int32_t first_long_item, long_items;
};

struct FlashInferPlan {
  std::vector<FlashInferWave> waves;  // usually one
  std::int32_t short_items = 0, long_items = 0;
  std::int64_t most_parts = 0;  // of a wave
};

// Writes the plan of a batch of rows into `buffer` (layout.bytes, on the host), to be copied to the
// device as it is. Items past the last are marked as not valid, so that a launch may have blocks
// for more. Throws Error if a limit is too low, or a row lies outside the block tables.
FlashInferPlan plan_flashinfer(const FlashInferShape& shape, std::span<const RowPlace> places,
                               const FlashInferLayout& layout, std::span<std::byte> buffer);

// The least room for parts with which rows up to `positions` of a sequence can be planned at all:
// one long tile. More room makes fewer waves.
constexpr std::int64_t least_parts(std::int32_t group, std::int32_t positions) {
  return std::int64_t{kLongTile / group} * ((positions + kFlashInferChunk - 1) / kFlashInferChunk);
}

// Items that a graph of a batch of up to `rows` rows that decode has blocks for, if `items` are
// needed: the next power of two times the rows, so that few graphs serve all lengths.
std::int32_t padded_items(std::int32_t rows, std::int32_t items);

}  // namespace lockstep::kernels::cuda

// Causal attention over a paged cache by FlashAttention-3 (Shah et al., arXiv:2407.08608), as
// FlashInfer 0.6.7.post3 has it for Hopper: faster with prompts than flashinfer_attention.h, slower
// in decoding, where it computes 128 rows for one, and with other bits.
//
// A row's bits depend on its position and its keys alone: a tile takes its keys in steps of 96,
// from the last to the first, whole; a row has nothing of the steps behind its position, so it
// begins with its own, wherever its tile ends (docs/decisions.md). So no row may be attended by
// another kernel: prompts and decoding take this one.
//
// Linked only where FlashInfer was found and the build is for sm_90a (fa3_built_in()).
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/cuda/grid.h"
#include "kernels/cuda/paged_cache.h"

namespace lockstep::kernels::cuda {

inline constexpr std::int32_t kFa3TileRows = 128;  // at most; a query head each
inline constexpr std::int32_t kFa3HeadDim = 128;

// Where everything lies in the buffer of a plan of so many tiles. Offsets in bytes.
struct Fa3Layout {
  explicit Fa3Layout(std::int32_t tiles);
  std::int32_t tiles;
  std::int64_t first_row;    // int32 [tiles]: a tile's first row in the batch
  std::int64_t rows;         // int32 [tiles]
  std::int64_t keys;         // int32 [tiles]: positions up to the tile's last row
  std::int64_t first_block;  // int32 [tiles]: into the block tables
  std::int64_t ends;         // int32 [tiles + 1]: 0, 1, ...: a block of threads has one tile
  std::int64_t zeros;        // int32 [tiles]: its number among its request's tiles
  std::int64_t bytes;
};

// Tiles of a batch: rows that follow each other in a sequence are cut at kFa3TileRows; `apart`:
// each row is one, so that a plan of as many rows always has the same layout.
std::int32_t count_fa3_tiles(std::span<const RowPlace> places, bool apart);

// Writes the plan into `buffer` (layout.bytes, on the host), to be copied to the device as it is.
// `stride`: of the block tables, of which there are `sequences`. Throws Error if the layout has
// another number of tiles, or a row lies outside the block tables.
void plan_fa3(std::span<const RowPlace> places, bool apart, std::int32_t block_size,
              std::int64_t stride, std::int32_t sequences, const Fa3Layout& layout,
              std::span<std::byte> buffer);

struct Fa3Args {
  const std::uint16_t* q;      // bf16 [rows, query_heads, kFa3HeadDim]
  PagedCache cache;            // bf16; up to a tile's last position only finite numbers
  const std::int32_t* blocks;  // the block tables
  const std::byte* plan;       // on the device
  std::uint16_t* out;          // as q
  std::int32_t rows;
  std::int32_t query_heads;  // a whole multiple of the cache's heads
  float scale;               // 1 / sqrt(head_dim)
};

// Throws Error if FA3 is not built in or does not serve this shape (attention_backend.h).
void launch_fa3(const Fa3Args& args, const Fa3Layout& layout, StreamHandle stream);

bool fa3_built_in();

}  // namespace lockstep::kernels::cuda

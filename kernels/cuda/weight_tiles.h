// Weights in the layout that products read: tiles of some rows by a group of 32 columns, of which
// each of a warp's 32 lanes loads 16 bytes that lie next to its neighbours'. The tiles of a block
// of rows follow each other in the order of their columns, then comes the next block: a warp reads
// memory front to back. Rows are padded to whole tiles; padding counts for nothing.
//
// Lane 4 * g + q holds columns 8 * q ... 8 * q + 7, which are counted from 0 here, of rows
// g, g + 8, ... of the tile, one row after the other:
//   bf16         8 rows: the columns in their order. (matrix_layout.h: tiles().)
//   int8, e4m3  16 rows: bytes in the order of columns 0 2 1 3 4 6 5 7.
//   int4        32 rows: words of eight nibbles, from the lowest: columns 0 2 4 6 1 3 5 7.
// These orders leave pairs of columns in the two halves of a word after one shift and one mask.
//
// What a stored number q stands for:
//   bf16           itself
//   int8_channel   scale * q, q in [-128, 127]; one scale a row, in f32
//   e4m3_channel   scale * q; the same
//   e4m3_block     scale * q; one scale for each group of columns of eight rows, in f32: those of a
//                  tile's two eights lie together. Blocks of 128 by 128 are stored once for each,
//                  so that a rank's part may begin anywhere, and other rows lie between: 1/64 more
//                  memory.
//   int8_group     scale * q, q in [-128, 127]; an f16 scale for each group of columns of each row.
//                  They lie behind a tile's 512 bytes: for lane q = 0 ... 3, then j = 0, 1, then
//                  i = 0, 1 that of row 8 * j + 2 * q + i.
//   int4_group     scale * q + minimum, q in [0, 15]; the same, in the order of j = 0 ... 3, with
//                  an f16 minimum behind each scale.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

namespace lockstep::kernels::cuda {

enum class TileFormat { bf16, int8_channel, int8_group, e4m3_channel, e4m3_block, int4_group };

constexpr std::int32_t rows_of_tile(TileFormat format) {
  return format == TileFormat::bf16 ? 8 : format == TileFormat::int4_group ? 32 : 16;
}

constexpr std::int32_t bytes_of_tile(TileFormat format) {
  return format == TileFormat::int4_group   ? 512 + 128
         : format == TileFormat::int8_group ? 512 + 32
                                            : 512;
}

// The scales that lie apart from the tiles, of one row of tiles over `groups` groups of columns.
constexpr std::int32_t scales_of_tile_row(TileFormat format, std::int32_t groups) {
  switch (format) {
    case TileFormat::int8_channel:
    case TileFormat::e4m3_channel: return rows_of_tile(format);
    case TileFormat::e4m3_block: return 2 * groups;
    case TileFormat::bf16:
    case TileFormat::int8_group:
    case TileFormat::int4_group: break;
  }
  return 0;
}

// What a packed matrix [rows, columns] takes: its tiles, and the scales that lie apart from them.
constexpr std::size_t bytes_of_matrix(TileFormat format, std::int64_t rows, std::int64_t columns) {
  const std::int64_t tile_rows = (rows + rows_of_tile(format) - 1) / rows_of_tile(format);
  const auto groups = static_cast<std::int32_t>(columns / 32);
  const std::int64_t of_row = std::int64_t{groups} * bytes_of_tile(format) +
                              scales_of_tile_row(format, groups) * std::int64_t{sizeof(float)};
  return static_cast<std::size_t>(tile_rows * of_row);
}

// A packed matrix in device memory.
struct WeightTiles {
  TileFormat format;
  const std::byte* tiles;
  const float* scales;  // [padded rows], [padded rows / 16, groups, 2] or null: see above
  std::int32_t rows;
  std::int32_t groups;  // of 32 columns
};

// Of its tiles, without scales that lie apart: of one row of them, and of all.
constexpr std::int64_t bytes_of_tile_row(const WeightTiles& weights) {
  return std::int64_t{weights.groups} * bytes_of_tile(weights.format);
}
constexpr std::int64_t bytes_of_tiles(const WeightTiles& weights) {
  const std::int32_t rows = rows_of_tile(weights.format);
  return std::int64_t{(weights.rows + rows - 1) / rows} * bytes_of_tile_row(weights);
}

// The same in host memory.
struct HostWeightTiles {
  TileFormat format;
  std::int32_t rows;
  std::int32_t groups;
  std::vector<std::byte> tiles;
  std::vector<float> scales;
};

// Packs a matrix of bf16 numbers [rows, columns].
// Here and below throws Error unless columns is a multiple of 32 and the sizes of all arrays fit.
HostWeightTiles pack_bf16(std::span<const std::uint16_t> values, std::int32_t rows,
                          std::int32_t columns);

// Packs bytes [rows, columns], signed or e4m3 as `format` says, with a scale a row.
HostWeightTiles pack_channels(TileFormat format, std::span<const std::uint8_t> values,
                              std::span<const float> scales, std::int32_t rows,
                              std::int32_t columns);

// Packs e4m3 numbers [rows, columns], a part of a matrix with a scale for each block of 128 by 128:
// scale_of(row, column) says it for the first element of eight rows by 32 columns of the part.
HostWeightTiles pack_e4m3_blocks(
    std::span<const std::uint8_t> values,
    const std::function<float(std::int32_t row, std::int32_t column)>& scale_of, std::int32_t rows,
    std::int32_t columns);

// 32 signed bytes in the order of their columns, with an f16 scale.
struct Int8Group {
  std::int8_t values[32];
  std::uint16_t scale;
};

// Packs groups [rows, columns / 32].
HostWeightTiles pack_int8(std::span<const Int8Group> values, std::int32_t rows,
                          std::int32_t columns);

// 32 numbers of four bits, in the order of their columns, with an f16 scale and minimum.
struct Int4Group {
  std::uint8_t values[32];
  std::uint16_t scale;
  std::uint16_t minimum;
};

// Packs groups [rows, columns / 32].
HostWeightTiles pack_int4(std::span<const Int4Group> values, std::int32_t rows,
                          std::int32_t columns);

}  // namespace lockstep::kernels::cuda

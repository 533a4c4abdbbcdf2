#include "kernels/cuda/weight_tiles.h"

#include <array>
#include <string>
#include <utility>

#include "base/error.h"

namespace lockstep::kernels::cuda {
namespace {

// Where columns 0 ... 7 of a lane lie among its bytes, or nibbles, of one row.
constexpr std::array<int, 8> kByteOf = {0, 2, 1, 3, 4, 6, 5, 7};
constexpr std::array<int, 8> kNibbleOf = {0, 4, 1, 5, 2, 6, 3, 7};

HostWeightTiles empty_tiles(TileFormat format, std::int32_t rows, std::int32_t columns) {
  if (rows < 0 || columns < 0 || columns % 32 != 0) {
    throw Error("weights of " + std::to_string(rows) + " rows by " + std::to_string(columns) +
                " columns: columns must be a multiple of 32");
  }
  HostWeightTiles packed{format, rows, columns / 32, {}, {}};
  const std::int64_t tile_rows = (rows + rows_of_tile(format) - 1) / rows_of_tile(format);
  packed.tiles.resize(static_cast<std::size_t>(tile_rows * packed.groups * bytes_of_tile(format)));
  return packed;
}

void require_size(std::size_t size, std::int64_t expected, const char* what) {
  if (std::cmp_equal(size, expected)) return;
  throw Error(std::string(what) + ": " + std::to_string(size) + " values where " +
              std::to_string(expected) + " are needed");
}

// The tile of a row's group, and the row's 16 / 8 / 4 bytes of lane `q` of its four.
std::byte* tile_of(HostWeightTiles& packed, std::int32_t row, std::int32_t group) {
  const std::int64_t tile = std::int64_t{row / rows_of_tile(packed.format)} * packed.groups + group;
  return packed.tiles.data() + tile * bytes_of_tile(packed.format);
}
std::byte* lane_of(HostWeightTiles& packed, std::int32_t row, std::int32_t group, int q) {
  const std::int32_t in_tile = row % rows_of_tile(packed.format);
  const std::int32_t bytes = 16 / (rows_of_tile(packed.format) / 8);  // of a row in a lane
  return tile_of(packed, row, group) + 16 * (4 * (in_tile % 8) + q) + in_tile / 8 * bytes;
}

// Eight bytes of a row, from a column on.
template <class Byte>
void set_eight(HostWeightTiles& packed, std::int32_t row, std::int32_t column, const Byte* from) {
  std::byte* lane = lane_of(packed, row, column / 32, column / 8 % 4);
  for (std::size_t i = 0; i < 8; ++i) lane[kByteOf[i]] = static_cast<std::byte>(from[i]);
}

void set_bytes(HostWeightTiles& packed, std::span<const std::uint8_t> values) {
  const std::int64_t columns = 32 * std::int64_t{packed.groups};
  require_size(values.size(), packed.rows * columns, "weights");
  for (std::int32_t row = 0; row < packed.rows; ++row) {
    for (std::int32_t column = 0; column < columns; column += 8) {
      set_eight(packed, row, column, values.data() + row * columns + column);
    }
  }
}

// Lowest byte first.
template <class Word>
void set_word(std::byte* at, Word word) {
  for (std::size_t i = 0; i < sizeof word; ++i) at[i] = static_cast<std::byte>(word >> 8 * i);
}

}  // namespace

HostWeightTiles pack_bf16(std::span<const std::uint16_t> values, std::int32_t rows,
                          std::int32_t columns) {
  HostWeightTiles packed = empty_tiles(TileFormat::bf16, rows, columns);
  require_size(values.size(), std::int64_t{rows} * columns, "weights");
  for (std::int32_t row = 0; row < rows; ++row) {
    for (std::int32_t column = 0; column < columns; column += 8) {
      const auto* from = values.data() + std::int64_t{row} * columns + column;
      std::byte* lane = lane_of(packed, row, column / 32, column / 8 % 4);
      for (int i = 0; i < 4; ++i) {
        set_word(lane + 4 * i, from[2 * i] | std::uint32_t{from[2 * i + 1]} << 16);
      }
    }
  }
  return packed;
}

HostWeightTiles pack_channels(TileFormat format, std::span<const std::uint8_t> values,
                              std::span<const float> scales, std::int32_t rows,
                              std::int32_t columns) {
  if (format != TileFormat::int8_channel && format != TileFormat::e4m3_channel) {
    throw Error("weights with a scale a row are int8 or e4m3");
  }
  HostWeightTiles packed = empty_tiles(format, rows, columns);
  set_bytes(packed, values);
  require_size(scales.size(), rows, "scales");
  packed.scales.assign(scales.begin(), scales.end());
  packed.scales.resize(static_cast<std::size_t>((rows + 15) / 16 * 16));
  return packed;
}

HostWeightTiles pack_e4m3_blocks(
    std::span<const std::uint8_t> values,
    const std::function<float(std::int32_t row, std::int32_t column)>& scale_of, std::int32_t rows,
    std::int32_t columns) {
  HostWeightTiles packed = empty_tiles(TileFormat::e4m3_block, rows, columns);
  set_bytes(packed, values);
  for (std::int32_t row = 0; row < rows; row += 16) {
    for (std::int32_t column = 0; column < columns; column += 32) {
      packed.scales.push_back(scale_of(row, column));
      packed.scales.push_back(row + 8 < rows ? scale_of(row + 8, column) : 0.0f);
    }
  }
  return packed;
}

HostWeightTiles pack_int8(std::span<const Int8Group> values, std::int32_t rows,
                          std::int32_t columns) {
  HostWeightTiles packed = empty_tiles(TileFormat::int8_group, rows, columns);
  require_size(values.size(), std::int64_t{rows} * packed.groups, "groups of weights");
  for (std::int32_t row = 0; row < rows; ++row) {
    for (std::int32_t group = 0; group < packed.groups; ++group) {
      const Int8Group& from = values[static_cast<std::size_t>(row * packed.groups + group)];
      for (int i = 0; i < 32; i += 8) set_eight(packed, row, 32 * group + i, from.values + i);
      const std::int32_t in_tile = row % 16;
      const std::int32_t place = in_tile % 8 / 2 * 4 + in_tile / 8 * 2 + in_tile % 2;
      set_word(tile_of(packed, row, group) + 512 + 2 * place, from.scale);
    }
  }
  return packed;
}

HostWeightTiles pack_int4(std::span<const Int4Group> values, std::int32_t rows,
                          std::int32_t columns) {
  HostWeightTiles packed = empty_tiles(TileFormat::int4_group, rows, columns);
  require_size(values.size(), std::int64_t{rows} * packed.groups, "groups of weights");
  for (std::int32_t row = 0; row < rows; ++row) {
    for (std::int32_t group = 0; group < packed.groups; ++group) {
      const Int4Group& from = values[static_cast<std::size_t>(row * packed.groups + group)];
      for (int q = 0; q < 4; ++q) {
        std::uint32_t word = 0;
        for (std::size_t i = 0; i < 8; ++i) {
          word |= std::uint32_t{from.values[8 * static_cast<std::size_t>(q) + i]}
                  << 4 * kNibbleOf[i];
        }
        set_word(lane_of(packed, row, group, q), word);
      }
      const std::int32_t in_tile = row % 32;
      const std::int32_t place = in_tile % 8 / 2 * 8 + in_tile / 8 * 2 + in_tile % 2;
      set_word(tile_of(packed, row, group) + 512 + 4 * place,
               from.scale | std::uint32_t{from.minimum} << 16);
    }
  }
  return packed;
}

}  // namespace lockstep::kernels::cuda

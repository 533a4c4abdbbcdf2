// Where the values of a bf16 matrix lie: plain rows, or the tiles that products read.
#pragma once

#include <cstdint>

namespace lockstep::kernels::cuda {

// The columns of a tile: a group (kernels/lanes.h).
inline constexpr int kTileColumns = 32;

// Element (row, column) is at index
//   row / rows * block + row % rows * row_step + column / 32 * group + column % 32.
struct MatrixLayout {
  std::int64_t block;     // from a block of `rows` rows to the next
  std::int64_t group;     // from a group of 32 columns to the next
  std::int64_t row_step;  // from a row of a block to the next
  std::int32_t rows;      // of a block

  constexpr std::int64_t at(std::int64_t row, std::int64_t column) const {
    return row / rows * block + row % rows * row_step + column / kTileColumns * group +
           column % kTileColumns;
  }
};

// One row after the other.
constexpr MatrixLayout plain_rows(std::int64_t columns) {
  return {columns, kTileColumns, columns, 1};
}

// The tiles of bf16 weights (weight_tiles.h), 8 rows by 32 columns, each 512 bytes of rows one
// after the other; the tiles of 8 rows in the order of their columns. How an embedding lies that is
// the output head as well. REQUIRES: columns % 32 == 0, and memory for whole blocks of rows.
constexpr MatrixLayout tiles(std::int64_t columns) {
  return {8 * columns, 8 * kTileColumns, kTileColumns, 8};
}

}  // namespace lockstep::kernels::cuda

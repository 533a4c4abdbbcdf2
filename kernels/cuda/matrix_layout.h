// Where the values of a bf16 matrix lie: plain rows, or the tiles that products read.
#pragma once

#include <cstdint>

namespace lockstep::kernels::cuda {

// Rows and columns of a tile; a tile's 32 columns are a group (kernels/lanes.h).
inline constexpr int kTileRows = 16;
inline constexpr int kTileColumns = 32;

// Element (row, column) is at index
//   row / 16 * block + row % 16 * row_step + column / 32 * group + column % 32.
struct MatrixLayout {
  std::int64_t block;     // from a block of 16 rows to the next
  std::int64_t group;     // from a group of 32 columns to the next
  std::int64_t row_step;  // from a row of a block to the next

  constexpr std::int64_t at(std::int64_t row, std::int64_t column) const {
    return row / kTileRows * block + row % kTileRows * row_step + column / kTileColumns * group +
           column % kTileColumns;
  }
};

// One row after the other.
constexpr MatrixLayout plain_rows(std::int64_t columns) {
  return {kTileRows * columns, kTileColumns, columns};
}

// Tiles of 16 rows by 32 columns, each 1 KiB of rows one after the other; the tiles of 16 rows in
// the order of their columns. REQUIRES: columns % 32 == 0, and memory for whole blocks of rows.
constexpr MatrixLayout tiles(std::int64_t columns) {
  return {kTileRows * columns, kTileRows * kTileColumns, kTileColumns};
}

}  // namespace lockstep::kernels::cuda

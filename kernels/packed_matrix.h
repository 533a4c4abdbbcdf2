// Weight matrices in the layout that the CPU kernels read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/arena.h"
#include "kernels/stored_matrix.h"

namespace lockstep::kernels {

// Rows that lie interleaved: one 512-bit register of 32-bit sums.
inline constexpr std::int64_t kRowBlock = 16;

// How the 16 rows of a block share the memory of a group of 32 columns. interleaved: side by side,
// for vectors that hold a column of all of them; rows: one after the other, for a matrix unit.
enum class PackedLayout { interleaved, rows };

// What one row block of one group of 32 columns holds, interleaved:
//   q4:  256 bytes of nibbles, 16 f16 scales, 16 f16 minima. Byte 64*c + 4*r + j holds, in its low
//        half, column 4*c + j of row r, in its high half column 16 + 4*c + j (c, j = 0..3).
//   q4_0: the same without minima: a nibble counts from -8.
//   q8:  512 signed bytes, 16 f16 scales. Byte 64*c + 4*r + j is column 4*c + j of row r (c =
//        0..7).
//   f8:  512 bytes of e4m3, 16 f32 scales. Byte 32*(c/2) + 2*r + c%2 is column c of row r: pairs of
//        columns.
//   bf16: element 32*(c/2) + 2*r + c%2 is column c of row r: pairs of columns.
//   f16, f32: element 16*c + r is column c of row r.
// In rows:
//   q4:  256 bytes of nibbles, 16 f16 scales, 16 f16 minima. The 16-bit word 32*(r/4) + c holds, in
//        its bits 4*(r%4) to 4*(r%4) + 3, column c of row r.
//   q4_0: the same without minima.
//   q8:  512 signed bytes, 16 f16 scales. Byte 32*r + 16*(c%2) + c/2 is column c of row r.
//   f8:  512 bytes of e4m3, 16 f32 scales. Byte 32*r + c is column c of row r.
//   bf16: element 32*r + c is column c of row r.
// Row blocks follow each other, and inside one the groups in order of K: a product reads memory
// front to back.
enum class PackedFormat { q4, q4_0, q8, f8, bf16, f16, f32 };

// The format that a tensor of `type` is packed into (weight_format.cc). Throws Error when weights
// are not of such a type.
PackedFormat packed_format(DType type);

// Bytes of one group of one row block.
std::size_t packed_group_bytes(PackedFormat format);

class PackedMatrix {
 public:
  PackedMatrix() = default;
  // An empty matrix of `rows` x `columns` in `arena`, which must outlive it. Rows are padded with
  // zeros to a multiple of 16. Throws Error unless columns % 32 == 0. REQUIRES: not f16 or f32
  // where the layout is rows.
  PackedMatrix(PackedFormat format, std::int64_t rows, std::int64_t columns, Arena& arena,
               PackedLayout layout = PackedLayout::interleaved);

  // Packs columns [first_column, first_column + columns()) of row `source_row` of `source` as row
  // `row`, which must be empty. REQUIRES: they are inside `source`, whose type packs into format(),
  // and first_column % 32 == 0; larger blocks may be cut.
  void set_row(std::int64_t row, const StoredMatrix& source, std::int64_t source_row,
               std::int64_t first_column);

  // The values of one row, dequantized. REQUIRES: out.size() == columns().
  void get_row(std::int64_t row, std::span<float> out) const;

  PackedFormat format() const { return format_; }
  PackedLayout layout() const { return layout_; }
  std::int64_t rows() const { return rows_; }
  std::int64_t columns() const { return columns_; }
  std::int64_t row_blocks() const { return (rows_ + kRowBlock - 1) / kRowBlock; }
  std::int64_t groups() const { return columns_ / 32; }
  std::size_t bytes() const { return block_bytes_ * static_cast<std::size_t>(row_blocks()); }
  const std::byte* block(std::int64_t row_block) const {
    return data_ + static_cast<std::size_t>(row_block) * block_bytes_;
  }

 private:
  void set_e4m3(std::int64_t row, const StoredMatrix& source, std::int64_t source_row,
                std::int64_t first_column);
  void set_values(std::int64_t row, const StoredMatrix& source, std::int64_t source_row,
                  std::int64_t first_column);
  std::byte* group(std::int64_t row, std::int64_t group);
  const std::byte* group(std::int64_t row, std::int64_t group) const;

  PackedFormat format_ = PackedFormat::f32;
  PackedLayout layout_ = PackedLayout::interleaved;
  std::int64_t rows_ = 0;
  std::int64_t columns_ = 0;
  std::size_t block_bytes_ = 0;
  std::byte* data_ = nullptr;
};

}  // namespace lockstep::kernels

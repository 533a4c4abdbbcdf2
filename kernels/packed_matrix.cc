#include "kernels/packed_matrix.h"

#include <cstring>
#include <string>

#include "base/error.h"
#include "kernels/byte_layout.h"
#include "kernels/fp8.h"
#include "kernels/half.h"
#include "kernels/load.h"
#include "kernels/weight_format.h"

namespace lockstep::kernels {
namespace {

constexpr std::size_t kNibbleBytes = 256;
constexpr std::size_t kByteBytes = 512;
constexpr int kColumns = 32;

void store_u16(std::byte* to, std::uint16_t value) { std::memcpy(to, &value, sizeof value); }

// Where the nibble of `column` of row `r` lies, and by how many bits it is shifted.
constexpr std::size_t nibble_byte(int column, int r) {
  return static_cast<std::size_t>(64 * ((column % 16) / 4) + 4 * r + column % 4);
}
constexpr int nibble_shift(int column) { return column < 16 ? 0 : 4; }

// Where the signed byte of `column` of row `r` lies.
constexpr std::size_t byte_place(int column, int r) {
  return static_cast<std::size_t>(64 * (column / 4) + 4 * r + column % 4);
}

// Where the e4m3 number of `column` of row `r` lies.
constexpr std::size_t e4m3_byte(int column, int r) {
  return static_cast<std::size_t>(32 * (column / 2) + 2 * r + column % 2);
}

// Where the bf16 value of `column` of row `r` lies.
constexpr std::size_t pair_byte(int column, int r) {
  return static_cast<std::size_t>(64 * (column / 2) + 4 * r + 2 * (column % 2));
}

void pack_q4(std::byte* group, int r, const QuantizedGroup& from) {
  for (int column = 0; column < kColumns; ++column) {
    const std::byte nibble{
        static_cast<std::uint8_t>(from.values[static_cast<std::size_t>(column)])};
    group[nibble_byte(column, r)] |= nibble << nibble_shift(column);
  }
  store_u16(group + kNibbleBytes + 2 * r, from.scale);
  store_u16(group + kNibbleBytes + 32 + 2 * r, from.minimum);
}

void pack_q8(std::byte* group, int r, const QuantizedGroup& from) {
  for (int column = 0; column < kColumns; ++column) {
    group[byte_place(column, r)] = std::byte(from.values[static_cast<std::size_t>(column)]);
  }
  store_u16(group + kByteBytes + 2 * r, from.scale);
}

void pack_f8(std::byte* group, int r, const E4m3Group& from) {
  for (int column = 0; column < kColumns; ++column) {
    group[e4m3_byte(column, r)] = std::byte{from.values[static_cast<std::size_t>(column)]};
  }
  std::memcpy(group + kByteBytes + 4 * r, &from.scale, sizeof from.scale);
}

// Interleaves one row with the fifteen beside it, in units that stay together: a value, or a pair.
template <class Unit>
void spread(const std::byte* from, std::int64_t units, std::byte* to) {
  for (std::int64_t i = 0; i < units; ++i) {
    std::memcpy(to + i * kRowBlock * std::int64_t{sizeof(Unit)},
                from + i * std::int64_t{sizeof(Unit)}, sizeof(Unit));
  }
}

float unpack(PackedFormat format, const std::byte* group, int r, int column) {
  switch (format) {
    case PackedFormat::q4: {
      const auto byte = std::to_integer<int>(group[nibble_byte(column, r)]);
      const auto nibble = static_cast<float>((byte >> nibble_shift(column)) & 15);
      return f16_to_float(load<std::uint16_t>(group + kNibbleBytes + 2 * r)) * nibble +
             f16_to_float(load<std::uint16_t>(group + kNibbleBytes + 32 + 2 * r));
    }
    case PackedFormat::q8: {
      const auto byte = std::to_integer<std::int8_t>(group[byte_place(column, r)]);
      return f16_to_float(load<std::uint16_t>(group + kByteBytes + 2 * r)) *
             static_cast<float>(byte);
    }
    case PackedFormat::f8: {
      const auto byte = std::to_integer<std::uint8_t>(group[e4m3_byte(column, r)]);
      return load<float>(group + kByteBytes + 4 * r) * bf16_to_float(e4m3_to_bf16(byte));
    }
    case PackedFormat::bf16:
      return bf16_to_float(load<std::uint16_t>(group + pair_byte(column, r)));
    case PackedFormat::f16: return f16_to_float(load<std::uint16_t>(group + 2 * (16 * column + r)));
    case PackedFormat::f32: break;
  }
  return load<float>(group + 4 * (16 * column + r));
}

}  // namespace

std::size_t packed_group_bytes(PackedFormat format) {
  switch (format) {
    case PackedFormat::q4: return kNibbleBytes + 64;
    case PackedFormat::q8: return kByteBytes + 32;
    case PackedFormat::f8: return kByteBytes + 64;
    case PackedFormat::bf16:
    case PackedFormat::f16: return 2 * kColumns * kRowBlock;
    case PackedFormat::f32: break;
  }
  return 4 * kColumns * kRowBlock;
}

PackedMatrix::PackedMatrix(PackedFormat format, std::int64_t rows, std::int64_t columns,
                           Arena& arena)
    : format_(format),
      rows_(rows),
      columns_(columns),
      block_bytes_(static_cast<std::size_t>(columns / kColumns) * packed_group_bytes(format_)) {
  if (rows < 1 || columns < 1 || columns % kColumns != 0) {
    throw Error("a weight matrix of " + std::to_string(rows) + " x " + std::to_string(columns) +
                " cannot be packed: columns must be a multiple of " + std::to_string(kColumns));
  }
  data_ = arena.allocate(bytes());
}

std::byte* PackedMatrix::group(std::int64_t row, std::int64_t group) {
  return const_cast<std::byte*>(std::as_const(*this).group(row, group));
}

const std::byte* PackedMatrix::group(std::int64_t row, std::int64_t group) const {
  return block(row / kRowBlock) + static_cast<std::size_t>(group) * packed_group_bytes(format_);
}

void PackedMatrix::set_row(std::int64_t row, const StoredMatrix& source, std::int64_t source_row,
                           std::int64_t first_column) {
  if (format_ == PackedFormat::f8) return set_e4m3(row, source, source_row, first_column);
  const GroupReader read = weight_format(source.type).read_group;
  if (read == nullptr) return set_values(row, source, source_row, first_column);
  const int r = static_cast<int>(row % kRowBlock);
  const auto pack = format_ == PackedFormat::q4 ? pack_q4 : pack_q8;
  for (std::int64_t g = 0; g < groups(); ++g) {
    pack(group(row, g), r, read(source, source_row, first_column / kColumns + g));
  }
}

void PackedMatrix::set_e4m3(std::int64_t row, const StoredMatrix& source, std::int64_t source_row,
                            std::int64_t first_column) {
  for (std::int64_t g = 0; g < groups(); ++g) {
    pack_f8(group(row, g), static_cast<int>(row % kRowBlock),
            read_e4m3(source, source_row, first_column / kColumns + g));
  }
}

void PackedMatrix::set_values(std::int64_t row, const StoredMatrix& source, std::int64_t source_row,
                              std::int64_t first_column) {
  const std::int64_t r = row % kRowBlock;
  const auto width = static_cast<std::int64_t>(block_bytes(source.type));
  const std::byte* from = source.values + (source_row * source.columns + first_column) * width;
  if (format_ == PackedFormat::f16) {
    spread<std::uint16_t>(from, columns_, group(row, 0) + 2 * r);
  } else {  // f32, and bf16 in pairs
    spread<std::uint32_t>(from, columns_ * width / 4, group(row, 0) + 4 * r);
  }
}

void PackedMatrix::get_row(std::int64_t row, std::span<float> out) const {
  const int r = static_cast<int>(row % kRowBlock);
  for (std::int64_t k = 0; k < columns_; ++k) {
    out[static_cast<std::size_t>(k)] =
        unpack(format_, group(row, k / kColumns), r, static_cast<int>(k % kColumns));
  }
}

}  // namespace lockstep::kernels

#include "kernels/packed_matrix.h"

#include <cstring>
#include <string>

#include "base/error.h"
#include "kernels/half.h"

namespace lockstep::kernels {
namespace {

constexpr std::size_t kNibbleBytes = 256;
constexpr std::size_t kByteBytes = 512;
constexpr int kColumns = 32;

std::uint16_t load_u16(const std::byte* from) {
  std::uint16_t value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

void store_u16(std::byte* to, std::uint16_t value) { std::memcpy(to, &value, sizeof value); }

// Where the nibble of `column` of row `r` lies, and by how many bits it is shifted.
constexpr std::size_t nibble_byte(int column, int r) {
  return static_cast<std::size_t>(64 * ((column % 16) / 4) + 4 * r + column % 4);
}
constexpr int nibble_shift(int column) { return column < 16 ? 0 : 4; }

// Where the bf16 value of `column` of row `r` lies.
constexpr std::size_t pair_byte(int column, int r) {
  return static_cast<std::size_t>(64 * (column / 2) + 4 * r + 2 * (column % 2));
}

void pack_q4(std::byte* group, int r, const std::byte* block, bool has_minimum) {
  const std::uint16_t scale = load_u16(block);
  // q4_0 counts from -8: the same value with a minimum of -8 * scale, exact in f16 unless the
  // scale itself is beyond 65504 / 8.
  const std::uint16_t minimum =
      has_minimum ? load_u16(block + 2) : float_to_f16(-8.0f * f16_to_float(scale));
  const std::byte* nibbles = block + (has_minimum ? 4 : 2);
  for (int column = 0; column < kColumns; ++column) {
    const std::byte both = nibbles[column % 16];
    const std::byte nibble = column < 16 ? both & std::byte{15} : both >> 4;
    group[nibble_byte(column, r)] |= nibble << nibble_shift(column);
  }
  store_u16(group + kNibbleBytes + 2 * r, scale);
  store_u16(group + kNibbleBytes + 32 + 2 * r, minimum);
}

void pack_q8(std::byte* group, int r, const std::byte* block) {
  store_u16(group + kByteBytes + 2 * r, load_u16(block));
  for (int column = 0; column < kColumns; ++column) {
    group[64 * (column / 4) + 4 * r + column % 4] = block[2 + column];
  }
}

float unpack(PackedFormat format, const std::byte* group, int r, int column) {
  switch (format) {
    case PackedFormat::q4: {
      const auto byte = std::to_integer<int>(group[nibble_byte(column, r)]);
      const auto nibble = static_cast<float>((byte >> nibble_shift(column)) & 15);
      return f16_to_float(load_u16(group + kNibbleBytes + 2 * r)) * nibble +
             f16_to_float(load_u16(group + kNibbleBytes + 32 + 2 * r));
    }
    case PackedFormat::q8: {
      const auto byte = std::to_integer<std::int8_t>(group[64 * (column / 4) + 4 * r + column % 4]);
      return f16_to_float(load_u16(group + kByteBytes + 2 * r)) * static_cast<float>(byte);
    }
    case PackedFormat::bf16: return bf16_to_float(load_u16(group + pair_byte(column, r)));
    case PackedFormat::f16: return f16_to_float(load_u16(group + 2 * (16 * column + r)));
    case PackedFormat::f32: break;
  }
  float value;
  std::memcpy(&value, group + 4 * (16 * column + r), sizeof value);
  return value;
}

}  // namespace

PackedFormat packed_format(DType type) {
  switch (type) {
    case DType::q4_0:
    case DType::q4_1: return PackedFormat::q4;
    case DType::q8_0: return PackedFormat::q8;
    case DType::bf16: return PackedFormat::bf16;
    case DType::f16: return PackedFormat::f16;
    case DType::f32: break;
  }
  return PackedFormat::f32;
}

std::size_t packed_group_bytes(PackedFormat format) {
  switch (format) {
    case PackedFormat::q4: return kNibbleBytes + 64;
    case PackedFormat::q8: return kByteBytes + 32;
    case PackedFormat::bf16:
    case PackedFormat::f16: return 2 * kColumns * kRowBlock;
    case PackedFormat::f32: break;
  }
  return 4 * kColumns * kRowBlock;
}

PackedMatrix::PackedMatrix(DType source_type, std::int64_t rows, std::int64_t columns, Arena& arena)
    : source_type_(source_type),
      format_(packed_format(source_type)),
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

void PackedMatrix::set_row(std::int64_t row, const std::byte* source) {
  const int r = static_cast<int>(row % kRowBlock);
  const std::size_t source_bytes =
      block_bytes(source_type_) * kColumns / block_values(source_type_);
  for (std::int64_t g = 0; g < groups(); ++g, source += source_bytes) {
    std::byte* to = group(row, g);
    switch (format_) {
      case PackedFormat::q4: pack_q4(to, r, source, source_type_ == DType::q4_1); break;
      case PackedFormat::q8: pack_q8(to, r, source); break;
      case PackedFormat::bf16:
        for (int column = 0; column < kColumns; ++column) {
          std::memcpy(to + pair_byte(column, r), source + 2 * column, 2);
        }
        break;
      default: {
        const std::size_t width = block_bytes(source_type_);
        for (std::size_t column = 0; column < kColumns; ++column) {
          std::memcpy(to + width * (kRowBlock * column + static_cast<std::size_t>(r)),
                      source + width * column, width);
        }
      }
    }
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

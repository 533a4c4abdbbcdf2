#include "kernels/byte_layout.h"

#include <algorithm>
#include <cstring>

#include "kernels/half.h"
#include "kernels/load.h"
#include "kernels/separate_scales.h"

namespace lockstep::kernels {
namespace {

const std::byte* bytes_at(const StoredMatrix& matrix, std::int64_t row, std::int64_t column) {
  return matrix.values + row * matrix.columns + column;
}

template <class T>
void copy_group(const StoredMatrix& matrix, std::int64_t row, std::int64_t group,
                std::array<T, 32>& values) {
  static_assert(sizeof(T) == 1);
  std::memcpy(values.data(), bytes_at(matrix, row, 32 * group), values.size());
}

std::int64_t blocks_across(const StoredMatrix& matrix) {
  return (matrix.columns + matrix.blocks.columns - 1) / matrix.blocks.columns;
}

}  // namespace

float plain_value(DType type, const std::byte* values, std::int64_t index) {
  if (type == DType::f32) return load<float>(values + 4 * index);
  const auto bits = load<std::uint16_t>(values + 2 * index);
  return type == DType::bf16 ? bf16_to_float(bits) : f16_to_float(bits);
}

float scale_at(const StoredMatrix& matrix, std::int64_t row, std::int64_t column) {
  const BlockScales& blocks = matrix.blocks;
  return plain_value(blocks.type, blocks.scales,
                     row / blocks.rows * blocks_across(matrix) + column / blocks.columns);
}

QuantizedGroup read_i8(const StoredMatrix& matrix, std::int64_t row, std::int64_t group) {
  QuantizedGroup read;
  copy_group(matrix, row, group, read.values);
  read.scale = float_to_f16(scale_at(matrix, row, 32 * group));
  return read;
}

QuantizedGroup read_u8(const StoredMatrix& matrix, std::int64_t row, std::int64_t group) {
  QuantizedGroup read = read_i8(matrix, row, group);
  for (std::int8_t& value : read.values) value = static_cast<std::int8_t>(value ^ -128);
  return read;
}

QuantizedGroup read_u4(const StoredMatrix& matrix, std::int64_t row, std::int64_t group) {
  QuantizedGroup read;
  const std::byte* bytes = matrix.values + (row * matrix.columns + 32 * group) / 2;
  for (std::size_t i = 0; i < 32; i += 2) {
    const auto two = std::to_integer<int>(bytes[i / 2]);
    read.values[i] = static_cast<std::int8_t>(two & 15);
    read.values[i + 1] = static_cast<std::int8_t>(two >> 4 & 15);
  }
  read.scale = float_to_f16(scale_at(matrix, row, 32 * group));
  read.minimum = float_to_f16(-8 * f16_to_float(read.scale));
  return read;
}

QuantizedGroup read_u4_zeros(const StoredMatrix& matrix, std::int64_t row, std::int64_t group) {
  QuantizedGroup read = read_u4(matrix, row, group);
  const std::int64_t word = row / 8 * blocks_across(matrix) + 32 * group / matrix.blocks.columns;
  const auto zero = static_cast<float>(nibble_of(word_at(matrix.blocks.zeros, word), row % 8));
  read.minimum = float_to_f16(-(zero * f16_to_float(read.scale)));
  return read;
}

E4m3Group read_e4m3(const StoredMatrix& matrix, std::int64_t row, std::int64_t group) {
  E4m3Group read;
  copy_group(matrix, row, group, read.values);
  read.scale = scale_at(matrix, row, 32 * group);
  return read;
}

bool has_nan(const StoredMatrix& matrix, std::int64_t row, std::int64_t first_column,
             std::int64_t columns) {
  if (matrix.type != DType::e4m3) return false;
  const std::byte* first = bytes_at(matrix, row, first_column);
  return std::any_of(first, first + columns,
                     [](std::byte b) { return (b & std::byte{0x7f}) == std::byte{0x7f}; });
}

}  // namespace lockstep::kernels

// What gptq and awq share: scales and zero points in tensors of their own.
#pragma once

#include "kernels/half.h"
#include "kernels/load.h"
#include "kernels/stored_matrix.h"

namespace lockstep::kernels {

// Word `index` of 32-bit words.
inline std::uint32_t word_at(const std::byte* words, std::int64_t index) {
  return load<std::uint32_t>(words + 4 * static_cast<std::size_t>(index));
}

// Nibble `i` of a word, counted from its low end.
constexpr std::uint32_t nibble_of(std::uint32_t word, std::int64_t i) { return word >> 4 * i & 15; }

// Sets scale and minimum of the group of 32 columns, where nibble `zero_nibble` of a word of zeros
// is the row's.
inline void set_scale(const StoredMatrix& matrix, std::int64_t row, std::int64_t group,
                      std::int64_t zero_nibble, QuantizedGroup& read) {
  const SeparateScales& apart = matrix.apart;
  const std::int64_t column_group = 32 * group / apart.group_size;
  const std::int64_t index = column_group * matrix.rows + row;
  const std::uint32_t zeros = word_at(apart.zeros, column_group * (matrix.rows / 8) + row / 8);
  const auto zero = static_cast<float>(nibble_of(zeros + apart.zero_offset, zero_nibble));
  read.scale = load<std::uint16_t>(apart.scales + 2 * static_cast<std::size_t>(index));
  read.minimum = float_to_f16(-(zero * f16_to_float(read.scale)));
}

}  // namespace lockstep::kernels

// The layout of weights of eight bits in Hugging Face folders (compressed-tensors, fbgemm, AutoFP8,
// DeepSeek's blocks): bytes [rows, columns], signed ones (i8) or e4m3, and scales for blocks of
// them. The words in which compressed-tensors packs numbers ("pack-quantized") are such bytes, too,
// the first number of a word in its lowest bits: 128 more than the number (u8), or 8 more, two of
// them in a byte (u4; and u4_zeros, whose zero points lie in such words, too, of eight rows each).
#pragma once

#include <array>
#include <cstdint>

#include "kernels/stored_matrix.h"

namespace lockstep::kernels {

// Number `index` of an array of f32, f16 or bf16.
float plain_value(DType type, const std::byte* values, std::int64_t index);

// The scale of one number of i8, u8, u4, u4_zeros or e4m3.
float scale_at(const StoredMatrix& matrix, std::int64_t row, std::int64_t column);

// 32 numbers of a row of i8. The scale is rounded to f16: by at most 2^-11 of it, and by nothing
// where it is stored in f16, or in bf16 and is not below 2^-17.
QuantizedGroup read_i8(const StoredMatrix& matrix, std::int64_t row, std::int64_t group);
// The same of u8 and of u4.
QuantizedGroup read_u8(const StoredMatrix& matrix, std::int64_t row, std::int64_t group);
QuantizedGroup read_u4(const StoredMatrix& matrix, std::int64_t row, std::int64_t group);
// The same of u4_zeros: the minimum, -zero * scale, is rounded to f16, by at most 2^-11 of it.
QuantizedGroup read_u4_zeros(const StoredMatrix& matrix, std::int64_t row, std::int64_t group);

// 32 numbers of a row of e4m3: value = scale * e4m3, as they are stored.
struct E4m3Group {
  std::array<std::uint8_t, 32> values;
  float scale;
};
E4m3Group read_e4m3(const StoredMatrix& matrix, std::int64_t row, std::int64_t group);

// Whether one of `columns` numbers from `first_column` on is not a number; of e4m3 alone.
bool has_nan(const StoredMatrix& matrix, std::int64_t row, std::int64_t first_column,
             std::int64_t columns);

}  // namespace lockstep::kernels

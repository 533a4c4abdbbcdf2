// A matrix of weights as it lies in a file, and what a group of 32 of its values says.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/dtype.h"

namespace lockstep::kernels {

// Scales and zero points in tensors of their own, one of each for `group_size` columns of a row.
struct SeparateScales {
  const std::byte* scales = nullptr;  // f16 [column groups, rows]
  const std::byte* zeros = nullptr;   // i32 [column groups, rows / 8]: eight nibbles a word
  std::int64_t group_size = 0;        // a multiple of 32; the last group may be shorter
  std::uint32_t zero_offset = 0;      // what must be added to each word of `zeros`
};

// Scales in a tensor of their own, one of each for a block of the matrix: value = scale * number.
// They are finite and above 0.
struct BlockScales {
  const std::byte* scales = nullptr;  // [blocks of rows, blocks of columns], row after row
  DType type = DType::f32;            // or f16, or bf16
  std::int64_t rows = 0;              // of a block; the last one may have fewer
  std::int64_t columns = 0;  // the same; a multiple of 32, or not fewer than the matrix has
  // Of u4_zeros, whose blocks have one row: value = scale * (number - zero). i32 [rows / 8, rounded
  // up; blocks of columns], eight nibbles a word: those of eight rows.
  const std::byte* zeros = nullptr;
};

// [rows, columns] = [out_features, in_features].
struct StoredMatrix {
  DType type = DType::f32;
  std::int64_t rows = 0;
  std::int64_t columns = 0;
  const std::byte* values =
      nullptr;                // row after row; gptq, awq and their like have their own order
  SeparateScales apart = {};  // of gptq, gptq_8, awq and awq_8
  BlockScales blocks = {};    // of i8, u8, u4, u4_zeros and e4m3
};

// 32 quantized values of one row: value = scale * values[i] + minimum.
struct QuantizedGroup {
  std::array<std::int8_t, 32> values;  // 0 to 15 on the way to PackedFormat::q4 and q4_0
  std::uint16_t scale;                 // f16
  std::uint16_t minimum = 0;           // f16; 0 on the way to PackedFormat::q8
};

// Reads columns 32 * group ... 32 * group + 31 of row `row`.
using GroupReader = QuantizedGroup (*)(const StoredMatrix& matrix, std::int64_t row,
                                       std::int64_t group);

}  // namespace lockstep::kernels

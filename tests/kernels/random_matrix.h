// Random matrices in every storage format, and beside them what they mean.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <random>
#include <vector>

#include "kernels/fp8.h"
#include "kernels/half.h"
#include "kernels/stored_matrix.h"

namespace lockstep::kernels {

struct RandomMatrix {
  DType type;
  std::int64_t rows, columns;
  std::vector<std::byte> bytes;
  std::vector<double> values;  // [rows, columns]
  std::vector<std::byte> scales, zeros;
  std::int64_t group_size = 0;
  std::uint32_t zero_offset = 0;
  // Of i8, u8, u4, u4_zeros and e4m3, which share scales in blocks of so many rows and columns.
  DType scale_type = DType::f32;
  std::int64_t scale_rows = 0, scale_columns = 0;

  StoredMatrix stored() const {
    return {type,
            rows,
            columns,
            bytes.data(),
            {scales.data(), zeros.data(), group_size, zero_offset},
            {scales.data(), scale_type, scale_rows, scale_columns, zeros.data()}};
  }
};

// Writes storage as the formats' own quantizers do. Scales have so few bits that their products
// with the small integers beside them are exact in f16: packing rounds nothing.
class MatrixWriter {
 public:
  explicit MatrixWriter(std::mt19937& random) : random_(&random) {}

  // `rows` a multiple of 8, `columns` of the format's block; of gptq, awq and their like in groups
  // of 64; of i8 with a scale a row, of u8 and of nibbles with one for 64 columns of it, of e4m3
  // with a scale for 32 rows of 64 columns.
  RandomMatrix matrix(DType type, std::int64_t rows, std::int64_t columns, float spread = 1.0f) {
    RandomMatrix made{type, rows, columns, {}, {}, {}, {}};
    spread_ = spread;
    if (is_gptq(type) || is_awq(type)) {
      made.group_size = 64;
      made.zero_offset = is_gptq(type) ? 0x11111111 : 0;
      write_words(made);
      return made;
    }
    if (type == DType::i8 || type == DType::u8 || is_nibbles(type) || type == DType::e4m3) {
      made.scale_type = type == DType::e4m3 ? DType::f32 : DType::bf16;
      made.scale_rows = type == DType::e4m3 ? 32 : 1;
      made.scale_columns = type == DType::i8 ? columns : 64;
      write_bytes(made);
      return made;
    }
    const auto block = static_cast<std::int64_t>(block_values(type));
    for (std::int64_t i = 0; i < rows * columns; i += block) write_block(made);
    return made;
  }

  // As matrix() of type i8, u8, u4, u4_zeros (of which blocks have one row) or e4m3, whose
  // scale_type, scale_rows and scale_columns say how. Scales of all but e4m3 have few bits.
  void write_bytes(RandomMatrix& made) {
    const bool is_whole = made.type != DType::e4m3;
    const auto blocks = [](std::int64_t size, std::int64_t block) {
      return (size + block - 1) / block;
    };
    const std::int64_t across = blocks(made.columns, made.scale_columns);
    std::vector<double> scales;
    for (std::int64_t i = 0; i < blocks(made.rows, made.scale_rows) * across; ++i) {
      const float scale = is_whole ? short_float(7) / 32 : spread_ / 448 * integer(1, 1000) / 1000;
      scales.push_back(append_scale(made, scale));
    }
    const std::vector<int> zeros = write_zeros(made, across);
    for (std::int64_t row = 0; row < made.rows; ++row) {
      for (std::int64_t column = 0; column < made.columns; ++column) {
        const double number = append_number(made, column);
        const auto block =
            static_cast<std::size_t>(row / made.scale_rows * across + column / made.scale_columns);
        made.values.push_back(scales[block] * (number - (zeros.empty() ? 0 : zeros[block])));
      }
    }
  }

  // As matrix() of type gptq, awq or their like, whose group_size and zero_offset say how.
  void write_words(RandomMatrix& made) {
    const bool eights = made.type == DType::gptq_8 || made.type == DType::awq_8;
    const std::int64_t rows = made.rows, columns = made.columns;
    const std::int64_t groups = (columns + made.group_size - 1) / made.group_size;
    std::vector<int> q, zero;
    std::vector<float> scale;
    for (std::int64_t i = 0; i < columns * rows; ++i) q.push_back(integer(0, 15));
    for (std::int64_t i = 0; i < groups * rows; ++i) {
      zero.push_back(eights ? 8 : integer(0, 15));
      scale.push_back(short_float(7));
      append_f16(made.scales, scale.back());
    }
    const auto at = [&](std::int64_t k, std::int64_t n) {
      return static_cast<std::size_t>(k * rows + n);
    };
    for (std::int64_t n = 0; n < rows; ++n) {
      for (std::int64_t k = 0; k < columns; ++k) {
        const auto g = at(k / made.group_size, n);
        made.values.push_back(double{scale[g]} * (q[at(k, n)] - zero[g]));
      }
    }
    // AutoGPTQ: nibble i of a word is column 8 * word + i. AutoAWQ: row 8 * word + order[i].
    constexpr int kSame[8] = {0, 1, 2, 3, 4, 5, 6, 7}, kAwq[8] = {0, 2, 4, 6, 1, 3, 5, 7};
    const bool awq = is_awq(made.type);
    const int* order = awq ? kAwq : kSame;
    const auto across = [&](const std::vector<int>& from, std::int64_t count, std::uint32_t less,
                            std::vector<std::byte>& to) {
      for (std::int64_t k = 0; k < count; ++k) {
        for (std::int64_t n = 0; n < rows; n += 8) {
          std::uint32_t word = 0;
          for (int i = 0; i < 8; ++i) {
            word |= static_cast<std::uint32_t>(from[at(k, n + order[i])]) << (4 * i);
          }
          append(to, word - less);
        }
      }
    };
    across(zero, groups, made.zero_offset, made.zeros);
    if (awq) return across(q, columns, 0, made.bytes);
    for (std::int64_t k = 0; k < columns; k += 8) {
      for (std::int64_t n = 0; n < rows; ++n) {
        std::uint32_t word = 0;
        for (int i = 0; i < 8; ++i) {
          word |= static_cast<std::uint32_t>(q[at(k + i, n)]) << (4 * i);
        }
        append(made.bytes, word);
      }
    }
  }

 private:
  static bool is_gptq(DType type) { return type == DType::gptq || type == DType::gptq_8; }
  static bool is_awq(DType type) { return type == DType::awq || type == DType::awq_8; }

  static bool is_nibbles(DType type) { return type == DType::u4 || type == DType::u4_zeros; }

  // The zero points of u4_zeros, [rows, across], from -8 to 7; as pack_to_int32() of
  // compressed-tensors packs along dimension 0.
  std::vector<int> write_zeros(RandomMatrix& made, std::int64_t across) {
    std::vector<int> zeros;
    if (made.type != DType::u4_zeros) return zeros;
    for (std::int64_t i = 0; i < made.rows * across; ++i) zeros.push_back(integer(-8, 7));
    for (std::int64_t first = 0; first < made.rows; first += 8) {
      for (std::int64_t block = 0; block < across; ++block) {
        std::uint32_t word = 0;
        for (std::int64_t row = first; row < std::min(first + 8, made.rows); ++row) {
          const int zero = zeros[static_cast<std::size_t>(row * across + block)];
          word |= static_cast<std::uint32_t>(zero + 8) << (4 * (row - first));
        }
        append(made.zeros, word);
      }
    }
    return zeros;
  }

  // A number of write_bytes(), of column `column` of its row.
  double append_number(RandomMatrix& made, std::int64_t column) {
    if (is_nibbles(made.type)) {
      const int number = integer(-8, 7);
      if (column % 2 == 0) {
        append(made.bytes, static_cast<std::uint8_t>(number + 8));
      } else {
        made.bytes.back() |= static_cast<std::byte>((number + 8) << 4);
      }
      return number;
    }
    if (made.type == DType::e4m3) {
      const auto byte = static_cast<std::uint8_t>(integer(0, 0x7e) | integer(0, 1) << 7);
      append(made.bytes, byte);
      return e4m3_to_float(byte);
    }
    const int number = integer(-128, 127);
    append(made.bytes, static_cast<std::uint8_t>(number + (made.type == DType::u8 ? 128 : 0)));
    return number;
  }

  void write_block(RandomMatrix& made) {
    switch (made.type) {
      case DType::f32: {
        const float value = real();
        append(made.bytes, value);
        made.values.push_back(value);
        break;
      }
      case DType::bf16: {
        const std::uint16_t value = float_to_bf16(real());
        append(made.bytes, value);
        made.values.push_back(bf16_to_float(value));
        break;
      }
      case DType::f16: made.values.push_back(append_f16(made.bytes, real())); break;
      case DType::q8_0: {
        const double scale = append_f16(made.bytes, real());
        for (int i = 0; i < 32; ++i) {
          const auto byte = static_cast<std::int8_t>(integer(-128, 127));
          append(made.bytes, byte);
          made.values.push_back(scale * byte);
        }
        break;
      }
      case DType::q4_0:
      case DType::q4_1: {
        const double scale = append_f16(made.bytes, real());
        const double minimum =
            made.type == DType::q4_1 ? append_f16(made.bytes, real()) : -8.0 * scale;
        std::uint8_t nibbles[16];
        for (auto& nibble : nibbles) {
          nibble = static_cast<std::uint8_t>(integer(0, 255));
          append(made.bytes, nibble);
        }
        for (int i = 0; i < 32; ++i) {
          const int nibble = i < 16 ? nibbles[i] & 15 : nibbles[i - 16] >> 4;
          made.values.push_back(scale * nibble + minimum);
        }
        break;
      }
      case DType::q5_0:
      case DType::q5_1: write_q5(made); break;
      case DType::q4_k: write_q4_k(made); break;
      case DType::q5_k: write_q5_k(made); break;
      case DType::q6_k: write_q6_k(made); break;
      default: break;
    }
  }

  // As quantize_row_q5_0_ref and quantize_row_q5_1_ref of ggml-quants.c pack. What a minimum makes
  // of q5_1 is what bytes hold exactly: a quarter of its scale is their step, and the number 0
  // stands for -127 of them.
  void write_q5(RandomMatrix& made) {
    const bool has_minimum = made.type == DType::q5_1;
    const float step = short_float(4) / 16;
    const double scale = append_f16(made.bytes, has_minimum ? 4 * step : step);
    const double minimum = has_minimum ? append_f16(made.bytes, -127 * step) : -16 * scale;
    int q[32];
    for (int& number : q) number = integer(0, 31);
    if (has_minimum) q[integer(0, 31)] = 0;
    std::uint32_t high = 0;
    for (int i = 0; i < 32; ++i) high |= static_cast<std::uint32_t>(q[i] >> 4) << i;
    append(made.bytes, high);
    for (int i = 0; i < 16; ++i) {
      append(made.bytes, static_cast<std::uint8_t>((q[i] & 15) | (q[i + 16] & 15) << 4));
    }
    for (const int number : q) made.values.push_back(scale * number + minimum);
  }

  // As quantize_row_q4_K_ref of ggml-quants.c packs.
  void write_q4_k(RandomMatrix& made) {
    const double d = append_f16(made.bytes, short_float(5) / 16);
    const double dmin = append_f16(made.bytes, short_float(5));
    int scale[8], minimum[8], q[256];
    for (int j = 0; j < 8; ++j) {
      scale[j] = integer(0, 63);
      minimum[j] = integer(0, 63);
    }
    append_six_bits(made, scale, minimum);
    for (int& value : q) value = integer(0, 15);
    append_nibbles(made, q);
    for (int i = 0; i < 256; ++i) {
      made.values.push_back(d * scale[i / 32] * q[i] - dmin * minimum[i / 32]);
    }
  }

  // As quantize_row_q5_K_ref packs, with what bytes hold exactly (write_q5()).
  void write_q5_k(RandomMatrix& made) {
    const float step = short_float(4) / 128;
    const double d = append_f16(made.bytes, step);
    const double dmin = append_f16(made.bytes, 127 * step);
    int scale[8], minimum[8], q[256];
    for (int j = 0; j < 8; ++j) {
      minimum[j] = integer(0, 15);
      scale[j] = 4 * minimum[j];
    }
    append_six_bits(made, scale, minimum);
    for (int& value : q) value = integer(0, 31);
    for (int j = 0; j < 8; ++j) q[32 * j + integer(0, 31)] = 0;
    for (int l = 0; l < 32; ++l) {
      int high = 0;
      for (int j = 0; j < 8; ++j) high |= q[32 * j + l] >> 4 << j;
      append(made.bytes, static_cast<std::uint8_t>(high));
    }
    append_nibbles(made, q);
    for (int i = 0; i < 256; ++i) {
      made.values.push_back(d * scale[i / 32] * q[i] - dmin * minimum[i / 32]);
    }
  }

  // Scales and minima of a superblock of q4_k or q5_k.
  static void append_six_bits(RandomMatrix& made, const int* scale, const int* minimum) {
    std::uint8_t packed[12] = {};
    for (int j = 0; j < 8; ++j) {
      const int ls = scale[j], lm = minimum[j];
      if (j < 4) {
        packed[j] = static_cast<std::uint8_t>(ls);
        packed[j + 4] = static_cast<std::uint8_t>(lm);
      } else {
        packed[j + 4] = static_cast<std::uint8_t>((ls & 0xF) | ((lm & 0xF) << 4));
        packed[j - 4] |= static_cast<std::uint8_t>((ls >> 4) << 6);
        packed[j] |= static_cast<std::uint8_t>((lm >> 4) << 6);
      }
    }
    for (const std::uint8_t byte : packed) append(made.bytes, byte);
  }

  // The low four bits of a superblock's 256 numbers.
  static void append_nibbles(RandomMatrix& made, const int* q) {
    for (int j = 0; j < 256; j += 64) {
      for (int l = 0; l < 32; ++l) {
        append(made.bytes, static_cast<std::uint8_t>((q[j + l] & 15) | (q[j + l + 32] & 15) << 4));
      }
    }
  }

  // As quantize_row_q6_K_ref packs. Of the two scales of 32 values one is a power of two below the
  // other, at most four times: what q8 holds exactly.
  void write_q6_k(RandomMatrix& made) {
    int scale[16], q[256];
    for (int& value : q) value = integer(0, 63);
    for (int j = 0; j < 16; j += 2) {
      const int larger = 4 * integer(-31, 31);
      scale[j] = larger;
      scale[j + 1] = larger >> integer(0, 2);
      if (integer(0, 1) == 1) std::swap(scale[j], scale[j + 1]);
    }
    std::uint8_t low[128], high[64];
    for (int j = 0; j < 2; ++j) {
      for (int l = 0; l < 32; ++l) {
        const int* part = q + 128 * j + l;
        low[64 * j + l] = static_cast<std::uint8_t>((part[0] & 0xF) | ((part[64] & 0xF) << 4));
        low[64 * j + l + 32] =
            static_cast<std::uint8_t>((part[32] & 0xF) | ((part[96] & 0xF) << 4));
        high[32 * j + l] =
            static_cast<std::uint8_t>((part[0] >> 4) | ((part[32] >> 4) << 2) |
                                      ((part[64] >> 4) << 4) | ((part[96] >> 4) << 6));
      }
    }
    for (const std::uint8_t byte : low) append(made.bytes, byte);
    for (const std::uint8_t byte : high) append(made.bytes, byte);
    for (const int s : scale) append(made.bytes, static_cast<std::int8_t>(s));
    const double d = append_f16(made.bytes, short_float(4) / 64);
    for (int i = 0; i < 256; ++i) made.values.push_back(d * scale[i / 16] * (q[i] - 32));
  }

  float real() { return std::uniform_real_distribution<float>(-spread_, spread_)(*random_); }
  int integer(int low, int high) { return std::uniform_int_distribution<int>(low, high)(*random_); }
  // A positive number of `bits` significant bits, around spread / 4.
  float short_float(int bits) {
    const int fraction = integer(1 << (bits - 1), (1 << bits) - 1);
    return std::ldexp(static_cast<float>(fraction), -bits - 2 + std::ilogb(spread_));
  }
  template <class T>
  static void append(std::vector<std::byte>& to, T value) {
    std::byte raw[sizeof value];
    std::memcpy(raw, &value, sizeof value);
    to.insert(to.end(), raw, raw + sizeof value);
  }
  static double append_f16(std::vector<std::byte>& to, float value) {
    append(to, float_to_f16(value));
    return f16_to_float(float_to_f16(value));
  }

  static double append_scale(RandomMatrix& made, float scale) {
    if (made.scale_type == DType::f16) return append_f16(made.scales, scale);
    if (made.scale_type == DType::f32) {
      append(made.scales, scale);
      return scale;
    }
    append(made.scales, float_to_bf16(scale));
    return bf16_to_float(float_to_bf16(scale));
  }

  std::mt19937* random_;
  float spread_ = 1.0f;
};

}  // namespace lockstep::kernels

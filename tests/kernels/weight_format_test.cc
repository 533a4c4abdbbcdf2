// Every storage format into packed matrices, against formulas in double and values from elsewhere.
#include "kernels/weight_format.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "kernels/activation_format.h"
#include "kernels/byte_layout.h"
#include "kernels/centred_bytes.h"
#include "kernels/flush_denormals.h"
#include "kernels/gptq_layout.h"
#include "tests/kernels/random_matrix.h"

namespace lockstep::kernels {
namespace {

constexpr DType kWeights[]{DType::f32,  DType::f16,  DType::bf16,   DType::q4_0,     DType::q4_1,
                           DType::q5_0, DType::q5_1, DType::q8_0,   DType::q4_k,     DType::q5_k,
                           DType::q6_k, DType::gptq, DType::gptq_8, DType::awq,      DType::awq_8,
                           DType::i8,   DType::u8,   DType::u4,     DType::u4_zeros, DType::e4m3};

// The values of columns [first, first + columns) of every row, packed and read again.
std::vector<float> packed_values(const StoredMatrix& stored, std::int64_t first,
                                 std::int64_t columns,
                                 PackedLayout layout = PackedLayout::interleaved) {
  Arena arena;
  PackedMatrix packed(packed_format(stored.type), stored.rows, columns, arena, layout);
  std::vector<float> values(static_cast<std::size_t>(stored.rows * columns));
  for (std::int64_t row = 0; row < stored.rows; ++row) packed.set_row(row, stored, row, first);
  for (std::int64_t row = 0; row < stored.rows; ++row) {
    packed.get_row(row, std::span(values).subspan(static_cast<std::size_t>(row * columns),
                                                  static_cast<std::size_t>(columns)));
  }
  return values;
}

void expect_values(const RandomMatrix& matrix, std::int64_t first, std::int64_t columns) {
  const auto values = packed_values(matrix.stored(), first, columns);
  for (std::int64_t row = 0; row < matrix.rows; ++row) {
    for (std::int64_t k = 0; k < columns; ++k) {
      const double expected =
          matrix.values[static_cast<std::size_t>(row * matrix.columns + first + k)];
      ASSERT_NEAR(values[static_cast<std::size_t>(row * columns + k)], expected,
                  1e-5 * std::fabs(expected) + 1e-6)
          << name(matrix.type) << " row " << row << " column " << first + k;
    }
  }
}

TEST(WeightFormat, EveryFormatGivesBackItsValues) {
  std::mt19937 random(12);
  for (const DType type : kWeights)
    expect_values(MatrixWriter(random).matrix(type, 24, 512), 0, 512);
}

TEST(WeightFormat, AnyGroupOf32MayBeTheFirst) {
  std::mt19937 random(13);
  for (const DType type : kWeights) {
    const auto matrix = MatrixWriter(random).matrix(type, 8, 512);
    for (std::int64_t first = 0; first < 512; first += 32) {
      expect_values(matrix, first, std::min<std::int64_t>(96, 512 - first));
    }
  }
}

TEST(WeightFormat, ValuesAreTheSameInRows) {
  std::mt19937 random(14);
  for (const DType type : kWeights) {
    if (!suits(ActivationFormat::bf16, packed_format(type))) continue;
    const auto matrix = MatrixWriter(random).matrix(type, 24, 512);
    EXPECT_EQ(packed_values(matrix.stored(), 96, 160, PackedLayout::rows),
              packed_values(matrix.stored(), 96, 160))
        << name(type);
  }
}

TEST(WeightFormat, WordsAreNoWeights) {
  EXPECT_THAT([] { packed_format(DType::i32); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("type i32 is not one of weights")));
  EXPECT_THAT([] { packed_format(DType::i64); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("type i64 is not one of weights")));
}

class SeparateScalesOf : public testing::TestWithParam<DType> {};

// 320 columns: the last group of 128 is shorter; 320: one group for all.
TEST_P(SeparateScalesOf, GroupsOfEverySizeAndZerosOfBothVersions) {
  std::mt19937 random(14);
  for (const std::int64_t group_size : {32, 64, 128, 320}) {
    for (const std::uint32_t zero_offset : {0u, kGptqZeroOffset}) {
      RandomMatrix matrix{GetParam(), 24, 320, {}, {}, {}, {}, group_size, zero_offset};
      MatrixWriter(random).write_words(matrix);
      expect_values(matrix, 0, 320);
      expect_values(matrix, 96, 128);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, SeparateScalesOf,
                         testing::Values(DType::gptq, DType::gptq_8, DType::awq, DType::awq_8),
                         [](const auto& info) { return std::string(name(info.param)); });

class ByteScales : public testing::TestWithParam<DType> {};

// 24 rows by 320 columns: one scale, one a row, and blocks that end inside both.
TEST_P(ByteScales, BlocksOfEverySizeInEveryType) {
  std::mt19937 random(18);
  for (const DType scale_type : {DType::f32, DType::f16, DType::bf16}) {
    for (const auto& [rows, columns] :
         {std::pair<std::int64_t, std::int64_t>{24, 320}, {1, 320}, {16, 128}, {128, 128}}) {
      RandomMatrix matrix{GetParam(), 24, 320, {}, {}, {}, {}};
      matrix.scale_type = scale_type;
      matrix.scale_rows = rows, matrix.scale_columns = columns;
      MatrixWriter(random).write_bytes(matrix);
      expect_values(matrix, 0, 320);
      expect_values(matrix, 96, 128);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, ByteScales,
                         testing::Values(DType::i8, DType::u8, DType::u4, DType::e4m3),
                         [](const auto& info) { return std::string(name(info.param)); });

// 21 rows: the last word of zero points is not full.
TEST(WeightFormat, NibblesHaveAZeroPointForEachScale) {
  std::mt19937 random(19);
  for (const DType scale_type : {DType::f32, DType::f16, DType::bf16}) {
    for (const std::int64_t columns : {32, 64, 128, 320}) {
      RandomMatrix matrix{DType::u4_zeros, 21, 320, {}, {}, {}, {}};
      matrix.scale_type = scale_type;
      matrix.scale_rows = 1, matrix.scale_columns = columns;
      MatrixWriter(random).write_bytes(matrix);
      expect_values(matrix, 0, 320);
      expect_values(matrix, 96, 128);
    }
  }
}

// One row of 32 numbers with a scale.
RandomMatrix one_group(DType type, const std::array<std::uint8_t, 32>& bytes, float scale) {
  RandomMatrix matrix{type, 1, 32, {}, {}, {}, {}};
  for (const std::uint8_t byte : bytes) matrix.bytes.push_back(std::byte{byte});
  matrix.scale_rows = 1, matrix.scale_columns = 32;
  matrix.scales.resize(sizeof scale);
  std::memcpy(matrix.scales.data(), &scale, sizeof scale);
  return matrix;
}

TEST(WeightFormat, EightBitIntegersRoundTheirScaleToF16) {
  // 1 + 2^-12 lies between 1 and the next f16, 1 + 2^-10: to 1. 2^-20 (1 + 2^-5) is subnormal in
  // f16, whose steps there are 2^-24: to 2^-20.
  for (const auto& [scale, rounded] : {std::pair{1.0f + 0x1p-12f, 1.0f},
                                       {0x1p-20f * (1 + 0x1p-5f), 0x1p-20f},
                                       {0x1p-17f * (1 + 0x1p-7f), 0x1p-17f * (1 + 0x1p-7f)}}) {
    const auto values = packed_values(one_group(DType::i8, {128, 127, 1}, scale).stored(), 0, 32);
    EXPECT_EQ(values[0], -128 * rounded);
    EXPECT_EQ(values[1], 127 * rounded);
    EXPECT_EQ(values[2], rounded);
    EXPECT_EQ(values[3], 0);
  }
}

// What GPUs read, which keep a minimum beside the scale: 0 is 0 also where the scale is subnormal
// in f16 and was rounded, to 2^-23.
TEST(WeightFormat, NibblesHaveAMinimumOfEightRoundedScales) {
  for (const float scale : {0.75f, 1.5f * 0x1p-24f, 0x1p-25f}) {
    const QuantizedGroup group = read_u4(one_group(DType::u4, {0x80, 0x8f}, scale).stored(), 0, 0);
    EXPECT_EQ(group.values[0], 0);
    EXPECT_EQ(group.values[1], 8);
    EXPECT_EQ(group.values[2], 15);
    EXPECT_EQ(f16_to_float(group.minimum), -8 * f16_to_float(group.scale)) << scale;
  }
}

TEST(WeightFormat, E4m3IsKeptWithItsScaleInF32AlsoWhereSubnormalNumbersAreZero) {
  const FlushDenormals flush_denormals;
  const float scale = 0x1.234566p-13f;
  // The smallest, the largest subnormal one, the smallest normal one, -1.125 and the largest.
  const auto matrix = one_group(DType::e4m3, {0x01, 0x07, 0x08, 0xb9, 0x7e}, scale);
  const auto values = packed_values(matrix.stored(), 0, 32);
  const float expected[]{0x1p-9f, 7 * 0x1p-9f, 0x1p-6f, -1.125f, 448.0f, 0.0f};
  for (std::size_t i = 0; i < 6; ++i) EXPECT_EQ(values[i], scale * expected[i]) << i;
}

TEST(WeightFormat, FindsANanOfE4m3InTheColumnsAskedFor) {
  std::mt19937 random(19);
  for (const std::uint8_t nan : {0x7f, 0xff}) {
    auto matrix = MatrixWriter(random).matrix(DType::e4m3, 8, 96);
    EXPECT_FALSE(has_nan(matrix.stored(), 2, 0, 96));
    matrix.bytes[2 * 96 + 70] = std::byte{nan};
    EXPECT_TRUE(has_nan(matrix.stored(), 2, 64, 32));
    EXPECT_FALSE(has_nan(matrix.stored(), 2, 0, 64));
    EXPECT_FALSE(has_nan(matrix.stored(), 1, 0, 96));
    matrix.type = DType::i8;  // any byte is a number
    EXPECT_FALSE(has_nan(matrix.stored(), 2, 0, 96));
  }
}

// One block: byte i is 37 * i + 11, but for the f16 values that `halves` places.
RandomMatrix one_block(DType type,
                       const std::vector<std::pair<std::size_t, std::uint16_t>>& halves) {
  RandomMatrix matrix{type, 1, static_cast<std::int64_t>(block_values(type)), {}, {}, {}, {}};
  for (std::size_t i = 0; i < block_bytes(type); ++i) {
    matrix.bytes.push_back(std::byte(static_cast<std::uint8_t>(37 * i + 11)));
  }
  for (const auto& [at, half] : halves) std::memcpy(&matrix.bytes[at], &half, 2);
  return matrix;
}

// The expected values are those of gguf.quants.dequantize (PyPI gguf 0.19): every second of 32, or
// every 17th of 256.
TEST(WeightFormat, Q50IsWhatTheGgufPackageReads) {
  const auto values = packed_values(one_block(DType::q5_0, {{0, 0x211f}}).stored(), 0, 32);
  const float expected[]{
      0.09001922607421875f,  0.03000640869140625f,  0.13002777099609375f, 0.07001495361328125f,
      -0.15003204345703125f, -0.05001068115234375f, 0.05001068115234375f, 0.15003204345703125f,
      0.1400299072265625f,   0.03000640869140625f,  0.07001495361328125f, -0.040008544921875f,
      -0.15003204345703125f, 0.05001068115234375f,  -0.0600128173828125f, 0.1400299072265625f};
  for (std::size_t i = 0; i < 16; ++i) EXPECT_EQ(values[2 * i], expected[i]) << i;
}

TEST(WeightFormat, Q51IsWhatTheGgufPackageReads) {
  const auto matrix = one_block(DType::q5_1, {{0, 0x211f}, {2, 0xa666}});
  const auto values = packed_values(matrix.stored(), 0, 32);
  const float expected[]{
      0.16504669189453125f, 0.26506805419921875f, 0.20505523681640625f, -0.01499176025390625f,
      0.08502960205078125f, 0.18505096435546875f, 0.12503814697265625f, 0.22505950927734375f,
      0.16504669189453125f, 0.04502105712890625f, 0.09503173828125f,    0.14504241943359375f,
      0.02501678466796875f, 0.2350616455078125f,  0.1150360107421875f,  0.00501251220703125f};
  // The largest value is 0.275: half a 127th of it is lost, and 2^-11 of the value by the scale.
  for (std::size_t i = 0; i < 16; ++i) EXPECT_NEAR(values[2 * i], expected[i], 0.00122) << i;
}

TEST(WeightFormat, Q5kIsWhatTheGgufPackageReads) {
  const auto matrix = one_block(DType::q5_k, {{0, 0x211f}, {2, 0x1e66}});
  const auto values = packed_values(matrix.stored(), 0, 256);
  const float expected[]{
      8.053115844726562f,  -0.31867218017578125f, 0.01007080078125f,   0.930267333984375f,
      12.331558227539062f, 7.820594787597656f,    3.00823974609375f,   3.9884490966796875f,
      1.0952682495117188f, 9.287017822265625f,    5.8138275146484375f, 1.0128021240234375f,
      3.3245086669921875f, 5.775032043457031f,    0.6214828491210938f, 1.0415725708007812f};
  for (std::size_t i = 0; i < 16; ++i) EXPECT_NEAR(values[17 * i], expected[i], 0.08) << i;
}

TEST(WeightFormat, Q4kIsWhatTheGgufPackageReads) {
  const auto matrix = one_block(DType::q4_k, {{0, 0x211f}, {2, 0x1e66}});
  const auto values = packed_values(matrix.stored(), 0, 256);
  const float expected[]{
      3.0920562744140625f, -0.31867218017578125f, 0.2501220703125f,     -0.109954833984375f,
      5.7701568603515625f, 1.2591934204101562f,   1.607940673828125f,   0.3476715087890625f,
      1.0952682495117188f, 3.045684814453125f,    -0.1874542236328125f, 4.6135711669921875f,
      3.3245086669921875f, 5.775032043457031f,    0.02135467529296875f, 0.44144439697265625f};
  for (std::size_t i = 0; i < 16; ++i) EXPECT_NEAR(values[17 * i], expected[i], 2e-3) << i;
}

TEST(WeightFormat, Q6kIsWhatTheGgufPackageReads) {
  const auto matrix = one_block(DType::q6_k, {{208, 0x151f}});
  const auto values = packed_values(matrix.stored(), 0, 256);
  const float expected[]{-1.7891321182250977f,
                         0.64013671875f,
                         -0.28881168365478516f,
                         0.7251548767089844f,
                         -0.8314275741577148f,
                         2.3254966735839844f,
                         0.8701858520507812f,
                         -1.9379138946533203f,
                         -0.30881595611572266f,
                         -0.72015380859375f,
                         2.2117223739624023f,
                         -3.6757850646972656f,
                         -0.0f,
                         0.9452018737792969f,
                         0.9989633560180664f,
                         -0.07501602172851562f};
  // The larger scale of 32 values is at most 128: steps of at most 0.16, an eighth of that lost.
  for (std::size_t i = 0; i < 16; ++i) EXPECT_NEAR(values[17 * i], expected[i], 0.022) << i;
}

// Bits of any kind, as the formulas of ggml-quants.c read them.
std::vector<std::byte> random_bytes(std::size_t count, std::mt19937& random) {
  std::vector<std::byte> bytes;
  for (std::size_t i = 0; i < count; ++i) bytes.push_back(std::byte(random() & 255));
  return bytes;
}

// Scale and minimum of group `j` of a superblock, from its 12 bytes `s` (get_scale_min_k4).
std::pair<int, int> six_bits(const std::uint8_t* s, int j) {
  if (j < 4) return {s[j] & 63, s[j + 4] & 63};
  return {(s[j + 4] & 15) | ((s[j - 4] >> 6) << 4), (s[j + 4] >> 4) | ((s[j] >> 6) << 4)};
}

TEST(WeightFormat, Q4kRoundsItsProductsToF16) {
  std::mt19937 random(15);
  for (int round = 0; round < 50; ++round) {
    RandomMatrix matrix{DType::q4_k, 1, 256, random_bytes(144, random), {}, {}, {}};
    const std::uint16_t halves[2]{static_cast<std::uint16_t>(0x2000 + random() % 0x800),
                                  static_cast<std::uint16_t>(0x2000 + random() % 0x800)};
    std::memcpy(matrix.bytes.data(), halves, 4);
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(matrix.bytes.data());
    const double d = f16_to_float(halves[0]), dmin = f16_to_float(halves[1]);
    const auto values = packed_values(matrix.stored(), 0, 256);
    for (int i = 0; i < 256; ++i) {
      const int j = i / 32;
      const auto [sc, m] = six_bits(bytes + 4, j);
      const int q = bytes[16 + i / 64 * 32 + i % 32] >> (i % 64 < 32 ? 0 : 4) & 15;
      const double bound = std::ldexp(d * sc * q + dmin * m, -11) + 1e-7;
      EXPECT_NEAR(values[static_cast<std::size_t>(i)], d * sc * q - dmin * m, bound) << i;
    }
  }
}

TEST(WeightFormat, Q6kLosesAtMostAnEighthOfTheLargerStep) {
  std::mt19937 random(16);
  for (int round = 0; round < 50; ++round) {
    RandomMatrix matrix{DType::q6_k, 1, 256, random_bytes(210, random), {}, {}, {}};
    const auto half = static_cast<std::uint16_t>(0x2000 + random() % 0x800);
    std::memcpy(&matrix.bytes[208], &half, 2);
    if (round == 0) std::fill_n(&matrix.bytes[192], 16, std::byte{0});
    if (round == 1) {  // -32, and scales that differ in their sign only
      std::fill_n(matrix.bytes.data(), 192, std::byte{0});
      for (std::size_t i = 0; i < 16; ++i) matrix.bytes[192 + i] = std::byte(i % 2 == 0 ? 7 : 249);
    }
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(matrix.bytes.data());
    const auto* scales = reinterpret_cast<const std::int8_t*>(bytes + 192);
    const double d = f16_to_float(half);
    const auto values = packed_values(matrix.stored(), 0, 256);
    for (int i = 0; i < 256; ++i) {
      const int part = i / 128, in_part = i % 128;
      const int low = bytes[64 * part + in_part % 64] >> (in_part < 64 ? 0 : 4) & 15;
      const int high = bytes[128 + 32 * part + i % 32] >> (in_part / 32 * 2) & 3;
      const double expected = d * scales[i / 16] * ((low | (high << 4)) - 32);
      const int own = scales[i / 16], other = scales[(i / 16) ^ 1];
      const double larger = d * std::max(std::abs(own), std::abs(other));
      // Where the scales differ in their sign only, 128 becomes 127: a quarter of a step.
      const double step = std::abs(own) < std::abs(other) ? larger / 8
                          : own == -other                 ? larger / 4
                                                          : 0;
      EXPECT_NEAR(values[static_cast<std::size_t>(i)], expected,
                  step + std::ldexp(32 * larger, -11) + 1e-7)
          << round << ": " << i;
    }
  }
}

TEST(WeightFormat, Q5kLosesHalfA127thOfAGroupsLargestValue) {
  std::mt19937 random(17);
  for (int round = 0; round < 50; ++round) {
    RandomMatrix matrix{DType::q5_k, 1, 256, random_bytes(176, random), {}, {}, {}};
    const std::uint16_t halves[2]{static_cast<std::uint16_t>(0x2000 + random() % 0x800),
                                  static_cast<std::uint16_t>(0x2000 + random() % 0x800)};
    std::memcpy(matrix.bytes.data(), halves, 4);
    if (round == 0) std::fill_n(&matrix.bytes[0], 16, std::byte{0});  // zeros alone
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(matrix.bytes.data());
    const double d = round == 0 ? 0 : f16_to_float(halves[0]);
    const double dmin = round == 0 ? 0 : f16_to_float(halves[1]);
    const auto values = packed_values(matrix.stored(), 0, 256);
    double expected[256], largest[8] = {};
    for (int i = 0; i < 256; ++i) {
      const int j = i / 32;
      const auto [sc, m] = six_bits(bytes + 4, j);
      const int low = bytes[48 + i / 64 * 32 + i % 32] >> (i % 64 < 32 ? 0 : 4) & 15;
      const int high = bytes[16 + i % 32] >> j & 1;
      expected[i] = d * sc * (low + 16 * high) - dmin * m;
      largest[j] = std::max(largest[j], std::fabs(expected[i]));
    }
    for (int i = 0; i < 256; ++i) {
      const double bound = largest[i / 32] / 254 + std::ldexp(largest[i / 32], -11) + 1e-7;
      EXPECT_NEAR(values[static_cast<std::size_t>(i)], expected[i], bound) << round << ": " << i;
    }
  }
}

TEST(WeightFormat, CentredBytesDoNotHideWhatIsNotFinite) {
  constexpr float kInfinity = std::numeric_limits<float>::infinity();
  constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
  for (const auto& [scale, minimum] : {std::pair{kInfinity, 0.0f},
                                       {kNan, 0.0f},
                                       {0.5f, kNan},
                                       {0.5f, -kInfinity},
                                       {1e30f, 0.0f}}) {
    const QuantizedGroup group = centred_bytes({1, 2, 31}, scale, minimum);
    EXPECT_FALSE(std::isfinite(f16_to_float(group.scale))) << scale << ", " << minimum;
  }
  EXPECT_EQ(f16_to_float(centred_bytes({1, 2, 31}, 1e-12f, 0).scale), 0);
}

TEST(Half, ConvertsEveryF16ThereAndBack) {
  for (std::uint32_t half = 0; half < 0x10000; ++half) {
    if ((half & 0x7c00) == 0x7c00 && (half & 0x3ff) != 0) continue;  // NaNs
    EXPECT_EQ(float_to_f16(f16_to_float(static_cast<std::uint16_t>(half))), half);
  }
}

TEST(Half, WhatF16CannotHoldIsInfinite) {
  EXPECT_EQ(float_to_f16(65519.0f), 0x7bff);
  EXPECT_EQ(float_to_f16(65520.0f), 0x7c00);
  EXPECT_EQ(float_to_f16(-1e30f), 0xfc00);
  EXPECT_TRUE(std::isnan(f16_to_float(float_to_f16(std::nanf("")))));
}

}  // namespace
}  // namespace lockstep::kernels

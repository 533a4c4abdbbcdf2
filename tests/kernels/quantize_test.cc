// Activations in bytes, of every CPU family.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/half.h"
#include "tests/kernels/activations.h"
#include "tests/kernels/families.h"

namespace lockstep::kernels {
namespace {

class Quantize : public FamilyTest {};

TEST_P(Quantize, QuantizesToTheNearestByteWithItsSums) {
  auto x = random_floats(4 * 96, 6);
  std::fill_n(x.begin() + 32, 32, 0.0f);
  x[64] = 0x1p-130f, x[65] = -0x1p-130f;  // subnormal: zero in bf16
  Activations rows(table_, x, 4, 96), reference(scalar_, x, 4, 96);
  EXPECT_EQ(rows.bytes, reference.bytes);
  EXPECT_EQ(bits(rows.scales), bits(reference.scales));
  EXPECT_EQ(bits(rows.offsets), bits(reference.offsets));
  EXPECT_EQ(rows.biases, reference.biases);
  EXPECT_EQ(rows.halves, reference.halves);
  for (std::size_t g = 0; g < rows.scales.size(); ++g) {
    std::int32_t total = 0;
    for (std::size_t i = 32 * g; i < 32 * g + 32; ++i) {
      EXPECT_NEAR(rows.bytes[i] * rows.scales[g], x[i], rows.scales[g] * 0.5001);
      EXPECT_EQ(rows.halves[i], float_to_bf16_flushed(x[i]));
      total += rows.bytes[i];
    }
    EXPECT_EQ(rows.biases[g], -128 * total);
    EXPECT_EQ(rows.offsets[g], rows.scales[g] * static_cast<float>(total));
  }
  EXPECT_EQ(rows.scales[1], 0.0f);
}

TEST_P(Quantize, QuantizesAGroupThatIsNotFiniteToNotANumber) {
  for (const float odd : {NAN, INFINITY, -INFINITY}) {
    auto x = random_floats(96, 6);
    x[40] = odd;
    const Activations rows(table_, x, 1, 96);
    EXPECT_TRUE(std::isnan(rows.scales[1]));
    EXPECT_TRUE(std::isnan(rows.offsets[1]));
    EXPECT_EQ(rows.biases[1], 0);
    for (const std::size_t group : {0, 2}) {
      EXPECT_TRUE(std::isfinite(rows.scales[group]) && std::isfinite(rows.offsets[group]));
    }
  }
}

constexpr std::int64_t kColumns = 576;

// Five rows of numbers of the same size, with larger ones in some groups.
std::vector<float> rows_with_large_groups() {
  auto x = random_floats(5 * kColumns, 8);
  for (std::int64_t i = 0; i < 32; ++i) x[4 * 32 + i] *= 20.0f;  // group 4 of row 0, whole
  x[kColumns + 7 * 32 + 3] = -50.0f;                             // one value of group 7 of row 1
  x[2 * kColumns + 17 * 32 + 31] = 0x1.fp6f;                     // exact in two bytes, to the last
  for (std::int64_t i = 0; i < kColumns; ++i) x[3 * kColumns + i] *= 1e-34f;
  x[4 * kColumns + 9 * 32] = 50.0f;
  x[4 * kColumns + 2 * 32] = NAN;
  return x;
}

TEST_P(Quantize, WidensGroupsWhoseScaleIsFarAboveItsRows) {
  const auto x = rows_with_large_groups();
  const Activations rows(table_, x, 5, kColumns), narrow(table_, x, 5, kColumns, false);
  for (std::size_t g = 0; g < rows.wide.size(); ++g) {
    const bool is_large = g == 4 || g == 18 + 7 || g == 2 * 18 + 17;
    ASSERT_EQ(rows.wide[g], is_large) << g;  // none in row 3, of almost nothing, nor where a NaN is
    EXPECT_EQ(narrow.wide[g], 0);
    if (!is_large) continue;
    EXPECT_LT(rows.scales[g], narrow.scales[g] / 254);
    std::int32_t bytes = 0, low_bytes = 0;
    for (std::size_t i = 32 * g; i < 32 * g + 32; ++i) {
      const int number = cpu::kWideBase * rows.bytes[i] + rows.low_bytes[i];
      EXPECT_NEAR(number * rows.scales[g], x[i], rows.scales[g] * 0.501);
      bytes += rows.bytes[i];
      low_bytes += rows.low_bytes[i];
    }
    EXPECT_EQ(rows.biases[g], -128 * bytes);
    EXPECT_EQ(rows.low_biases[g], -128 * low_bytes);
    const int sum = cpu::kWideBase * bytes + low_bytes;
    EXPECT_EQ(rows.offsets[g], rows.scales[g] * static_cast<float>(sum));
  }
}

TEST_P(Quantize, GivesTheSameBytesInEveryFamily) {
  const auto x = rows_with_large_groups();
  const Activations rows(table_, x, 4, kColumns), reference(scalar_, x, 4, kColumns);
  EXPECT_EQ(rows.bytes, reference.bytes);
  EXPECT_EQ(rows.low_bytes, reference.low_bytes);
  EXPECT_EQ(rows.wide, reference.wide);
  EXPECT_EQ(bits(rows.scales), bits(reference.scales));
  EXPECT_EQ(bits(rows.offsets), bits(reference.offsets));
  EXPECT_EQ(rows.biases, reference.biases);
  EXPECT_EQ(rows.low_biases, reference.low_biases);
}

// A row's bytes must not depend on the rows that are quantized with it.
TEST_P(Quantize, GivesARowTheSameBytesInAnyCompany) {
  const auto x = rows_with_large_groups();
  const Activations rows(table_, x, 5, kColumns);
  for (std::int64_t row = 0; row < 4; ++row) {
    const Activations alone(table_, {x.begin() + row * kColumns, x.begin() + (row + 1) * kColumns},
                            1, kColumns);
    EXPECT_TRUE(
        std::equal(alone.bytes.begin(), alone.bytes.end(), rows.bytes.begin() + row * kColumns))
        << row;
    EXPECT_TRUE(std::equal(alone.scales.begin(), alone.scales.end(),
                           rows.scales.begin() + row * kColumns / 32))
        << row;
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, Quantize, testing::ValuesIn(kAllFamilies), family_name);

}  // namespace
}  // namespace lockstep::kernels

#include "kernels/fp8.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "kernels/flush_denormals.h"
#include "kernels/half.h"

namespace lockstep::kernels {
namespace {

// The format's definition: (-1)^s * 2^(e - 7) * 1.m, subnormal at e = 0.
double definition(int bits) {
  const int e = bits >> 3 & 15, m = bits & 7;
  const double magnitude = e == 0 ? std::ldexp(m, -9) : std::ldexp(8 + m, e - 10);
  return (bits & 0x80) != 0 ? -magnitude : magnitude;
}

TEST(Fp8, ReadsEveryNumberAsTheFormatDefinesIt) {
  for (int bits = 0; bits < 256; ++bits) {
    const float value = e4m3_to_float(static_cast<std::uint8_t>(bits));
    if ((bits & 0x7f) == 0x7f) {
      EXPECT_TRUE(std::isnan(value)) << bits;
    } else {
      EXPECT_EQ(value, definition(bits)) << bits;
      EXPECT_EQ(std::signbit(value), bits >= 128) << bits;
    }
  }
}

TEST(Fp8, IsExactInBf16AlsoWhereSubnormalNumbersAreZero) {
  const FlushDenormals flush_denormals;
  for (int bits = 0; bits < 256; ++bits) {
    if ((bits & 0x7f) == 0x7f) continue;
    const float value = bf16_to_float(e4m3_to_bf16(static_cast<std::uint8_t>(bits)));
    EXPECT_EQ(value, definition(bits)) << bits;
    EXPECT_EQ(std::signbit(value), bits >= 128) << bits;
  }
}

TEST(Fp8, RoundsToTheNearestEven) {
  for (int bits = 0; bits < 0x7e; ++bits) {
    const float low = e4m3_to_float(static_cast<std::uint8_t>(bits));
    const float high = e4m3_to_float(static_cast<std::uint8_t>(bits + 1));
    const float middle = (low + high) / 2;  // exact
    EXPECT_EQ(float_to_e4m3(low), bits);
    EXPECT_EQ(float_to_e4m3(std::nextafter(middle, 0.0f)), bits);
    EXPECT_EQ(float_to_e4m3(middle), bits % 2 == 0 ? bits : bits + 1);
    EXPECT_EQ(float_to_e4m3(std::nextafter(middle, 1e9f)), bits + 1);
    EXPECT_EQ(float_to_e4m3(-low), bits | 0x80);
  }
}

TEST(Fp8, TakesWhatIsTooLargeAsTheLargestNumber) {
  for (const float value : {448.0f, 449.0f, 1e30f, std::numeric_limits<float>::infinity()}) {
    EXPECT_EQ(float_to_e4m3(value), 0x7e) << value;
    EXPECT_EQ(float_to_e4m3(-value), 0xfe) << value;
  }
}

TEST(Fp8, KeepsNotANumber) {
  EXPECT_EQ(float_to_e4m3(std::numeric_limits<float>::quiet_NaN()) & 0x7f, 0x7f);
}

}  // namespace
}  // namespace lockstep::kernels

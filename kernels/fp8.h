// Eight-bit floating point, converted without hardware support: e4m3 of the Open Compute Project
// ("OCP 8-bit Floating Point Specification", revision 1.0), which PyTorch calls float8_e4m3fn. Four
// bits of exponent, three of fraction, no infinities; the largest number is 448.
#pragma once

#include <bit>
#include <cstdint>

namespace lockstep::kernels {

inline constexpr float kLargestE4m3 = 448.0f;

// Exact.
constexpr float e4m3_to_float(std::uint8_t bits) {
  const std::uint32_t sign = static_cast<std::uint32_t>(bits & 0x80) << 24;
  const std::uint32_t magnitude = bits & 0x7f;
  if (magnitude == 0x7f) return std::bit_cast<float>(sign | 0x7fc00000);
  // As a float the same bits are 2^120 times too small, subnormal ones as well.
  return std::bit_cast<float>(sign | magnitude << 20) * 0x1p120f;
}

// The same in bf16, by operations on whole numbers alone: float e4m3_to_float() would lose
// subnormal numbers in threads that take such for zero (flush_denormals.h). REQUIRES: not a NaN.
inline constexpr std::uint16_t kE4m3SubnormalBf16[8] = {0,      0x3b00, 0x3b80, 0x3bc0,
                                                        0x3c00, 0x3c20, 0x3c40, 0x3c60};
inline constexpr int kE4m3ExponentBf16 = 120 << 7;  // what an exponent of bf16 is above e4m3's
constexpr std::uint16_t e4m3_to_bf16(std::uint8_t bits) {
  const int sign = (bits & 0x80) << 8;
  const int magnitude = bits & 0x7f;
  return static_cast<std::uint16_t>(sign | (magnitude < 8 ? kE4m3SubnormalBf16[magnitude]
                                                          : (magnitude << 4) + kE4m3ExponentBf16));
}

// Rounds to the nearest even; what is beyond 448 becomes 448 with its sign, and a NaN stays one.
constexpr std::uint8_t float_to_e4m3(float value) {
  const auto bits = std::bit_cast<std::uint32_t>(value);
  const std::uint32_t sign = bits >> 24 & 0x80;
  const std::uint32_t magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return static_cast<std::uint8_t>(sign | 0x7f);
  if (magnitude >= std::bit_cast<std::uint32_t>(kLargestE4m3)) {
    return static_cast<std::uint8_t>(sign | 0x7e);
  }
  if (magnitude < 0x3c800000) {  // below 2^-6, subnormal: 2^14 has steps of 2^-9
    const float shifted = std::bit_cast<float>(magnitude) + 0x1p14f;
    return static_cast<std::uint8_t>(sign | (std::bit_cast<std::uint32_t>(shifted) - 0x46800000));
  }
  const std::uint32_t rounded = magnitude + 0x7ffff + (magnitude >> 20 & 1);
  return static_cast<std::uint8_t>(sign | (rounded - 0x3c000000) >> 20);
}

}  // namespace lockstep::kernels

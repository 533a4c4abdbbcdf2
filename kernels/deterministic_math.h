// Logarithm and exponential with the same bits on every machine. The C library's differ between
// its versions and between processors; these are plain IEEE double operations in a fixed order
// (the build forbids contraction into fused operations) and hold for any instruction set.
#pragma once

#include <bit>
#include <cstdint>

namespace lockstep::kernels {

// The natural logarithm, with a relative error below 1e-14 (also next to 1).
// REQUIRES: x is positive, finite and normal.
constexpr double deterministic_log(double x) {
  // x = m * 2^e with m in [sqrt(1/2), sqrt(2)); log(m) = 2 atanh(s), s = (m - 1) / (m + 1), whose
  // series converges fast because |s| < 0.172.
  constexpr std::uint64_t kSqrtHalf = 0x3FE6A09E667F3BCD;
  const std::uint64_t bits = std::bit_cast<std::uint64_t>(x);
  const std::int64_t e = static_cast<std::int64_t>(bits - kSqrtHalf) >> 52;
  const double m = std::bit_cast<double>(bits - (static_cast<std::uint64_t>(e) << 52));
  const double s = (m - 1.0) / (m + 1.0);
  const double z = s * s;
  double series = 2.0 / 19;
  series = series * z + 2.0 / 17;
  series = series * z + 2.0 / 15;
  series = series * z + 2.0 / 13;
  series = series * z + 2.0 / 11;
  series = series * z + 2.0 / 9;
  series = series * z + 2.0 / 7;
  series = series * z + 2.0 / 5;
  series = series * z + 2.0 / 3;
  constexpr double kLn2 = 0x1.62e42fefa39efp-1;
  return static_cast<double>(e) * kLn2 + (2.0 * s + s * z * series);
}

// e^x with a relative error below 1e-13; 0 below -700 and for NaN. No branches, so that a loop
// over it becomes vector code.
// REQUIRES: x <= 700 or NaN.
constexpr double deterministic_exp(double x) {
  // x = n ln 2 + r with |r| <= ln(2) / 2: adding 1.5 * 2^52 rounds to the integer n and leaves it
  // in the low bits of the sum. ln 2 is split so that n * kLn2High is exact.
  constexpr double kLog2E = 0x1.71547652b82fep+0;
  constexpr double kRound = 0x1.8p52;
  constexpr double kLn2High = 0x1.62e42feep-1;
  constexpr double kLn2Low = 0x1.a39ef35793c76p-33;
  const double shifted = x * kLog2E + kRound;
  const double n = shifted - kRound;
  const double r = (x - n * kLn2High) - n * kLn2Low;
  double series = 1.0 / 39916800;
  series = series * r + 1.0 / 3628800;
  series = series * r + 1.0 / 362880;
  series = series * r + 1.0 / 40320;
  series = series * r + 1.0 / 5040;
  series = series * r + 1.0 / 720;
  series = series * r + 1.0 / 120;
  series = series * r + 1.0 / 24;
  series = series * r + 1.0 / 6;
  series = series * r + 1.0 / 2;
  series = series * r + 1.0;
  series = series * r + 1.0;
  const double result = std::bit_cast<double>(std::bit_cast<std::uint64_t>(series) +
                                              (std::bit_cast<std::uint64_t>(shifted) << 52));
  return x >= -700.0 ? result : 0.0;
}

}  // namespace lockstep::kernels

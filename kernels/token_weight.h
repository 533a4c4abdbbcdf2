// What tokens weigh in sums of the softmax: whole numbers, whose sums have the same bits in any
// order, on any number of ranks, on a GPU as on the CPU.
#pragma once

#include <bit>
#include <cstdint>

#include "kernels/deterministic_math.h"

namespace lockstep::kernels {

// A token with the largest logit weighs 2^42: the sums of 2^21 tokens have room in 64 bits.
inline constexpr int kWeightBits = 42;
inline constexpr std::int64_t kMostWeighedTokens = std::int64_t{1} << 21;

// e^distance in units of 2^-42, with a relative error below 3e-7, rounded down: 0 below -29.2 and
// for NaN. Single IEEE 754 operations in a fixed order (no two of them are fused); the constants
// are those of Cephes' expf.
// REQUIRES: distance <= 0 or NaN.
constexpr std::uint64_t token_weight(float distance) {
  constexpr float kRound = 0x1.8p23f;  // leaves the nearest whole number in the low bits
  const float clamped = distance > -32.0f ? distance : -32.0f;
  const float shifted = clamped * 1.44269504f + kRound;
  const float n = shifted - kRound;
  const float r = (clamped - n * 0.693359375f) + n * 2.12194440e-4f;  // the first product is exact
  float series = 1.9875691500e-4f;
  series = series * r + 1.3981999507e-3f;
  series = series * r + 8.3334519073e-3f;
  series = series * r + 4.1665795894e-2f;
  series = series * r + 1.6666665459e-1f;
  series = series * r + 5.0000001201e-1f;
  const float fraction = series * (r * r) + r + 1.0f;  // of 2^n
  const std::uint32_t exponent = std::bit_cast<std::uint32_t>(shifted) + kWeightBits;
  return static_cast<std::uint64_t>(
      std::bit_cast<float>(std::bit_cast<std::uint32_t>(fraction) + (exponent << 23)));
}

// What a sum of weights of tokens that are `total` together must reach for `share` of them: the
// least whole number that is not below share * total.
constexpr std::uint64_t weight_needed(float share, std::uint64_t total) {
  const double exact = static_cast<double>(share) * static_cast<double>(total);
  const auto floor = static_cast<std::uint64_t>(exact);
  return static_cast<double>(floor) < exact ? floor + 1 : floor;
}

// The logarithm of the sum of e^logit, where the weights of all tokens, at distances logit - top,
// are `total` together.
// REQUIRES: total > 0.
constexpr double log_of_weights(std::uint64_t total, float top) {
  return static_cast<double>(top) + deterministic_log(static_cast<double>(total) * 0x1p-42);
}

}  // namespace lockstep::kernels

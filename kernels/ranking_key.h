// The order of tokens by their logits, as whole numbers.
#pragma once

#include <bit>
#include <cstdint>

namespace lockstep::kernels {

// Smaller the better the token ranks: logit descending, then id ascending. -0 equals 0.
// The bits of a float are ordered like its value once those of negative ones are flipped.
// REQUIRES: the logit is not NaN; token_id >= 0.
constexpr std::uint64_t ranking_key(float logit, std::int32_t token_id) {
  const auto bits = std::bit_cast<std::uint32_t>(logit + 0.0f);  // which makes -0 to 0
  const std::uint32_t ascending = (bits >> 31) != 0 ? ~bits : bits | 0x80000000u;
  return (std::uint64_t{~ascending} << 32) | static_cast<std::uint32_t>(token_id);
}

constexpr std::int32_t token_of(std::uint64_t key) {
  return static_cast<std::int32_t>(key & 0xFFFFFFFFu);
}

// 0 for -0.
constexpr float logit_of(std::uint64_t key) {
  const std::uint32_t ascending = ~static_cast<std::uint32_t>(key >> 32);
  return std::bit_cast<float>((ascending >> 31) != 0 ? ascending ^ 0x80000000u : ~ascending);
}

}  // namespace lockstep::kernels

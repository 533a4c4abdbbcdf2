// The noise that tokens are drawn with (shard/token_selection.h says how): a pure function of seed,
// position and token id, with the same bits on every processor.
#pragma once

#include <cstdint>

#include "kernels/deterministic_math.h"
#include "kernels/philox.h"

namespace lockstep::kernels {

// The random words of the tokens 4 * group ... 4 * group + 3 at one position: one call of Philox
// serves four tokens.
constexpr PhiloxCounter token_words(std::uint64_t seed, std::int32_t position,
                                    std::uint32_t group) {
  return philox4x32({static_cast<std::uint32_t>(position), 0, group, 0},
                    {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
}

// The upper 24 bits of a random word as a number in [0, 1).
constexpr float uniform_of(std::uint32_t word) { return static_cast<float>(word >> 8) * 0x1p-24f; }

// The Gumbel noise of a uniform number: -log(-log(uniform + 2^-25)) rounded to float. Grows with
// `uniform`, from -2.9 at 0 to 17.4 at 1 - 2^-24.
// REQUIRES: `uniform` is a multiple of 2^-24 in [0, 1).
constexpr float gumbel_noise(float uniform) {
  const double u = static_cast<double>(uniform) + 0x1p-25;
  return static_cast<float>(-deterministic_log(-deterministic_log(u)));
}

}  // namespace lockstep::kernels

// The exponential function of a number that is not positive, as kernels/cpu/simd_math.h has it: the
// same IEEE 754 operations in the same order, where nvcc is kept from fusing any (-fmad=false).
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>

#include "kernels/cuda/device_function.h"

namespace lockstep::kernels::cuda {

// e^a for a <= 0, to about 2 units in the last place; e^-87 below -87; NaN for NaN.
// Cody-Waite reduction and the minimax polynomial of Cephes' expf.
LOCKSTEP_DEVICE float exp_nonpositive(float a) {
  constexpr float kRoundingShift = 0x1.8p23f;  // leaves the nearest whole number in the low bits
  const float clamped = a < -87.0f ? -87.0f : a;
  const float shifted = fmaf(clamped, 1.44269504f, kRoundingShift);
  const float n = shifted - kRoundingShift;
  float r = fmaf(n, -0.693359375f, clamped);
  r = fmaf(n, 2.12194440e-4f, r);
  float p = 1.9875691500e-4f;
  p = fmaf(p, r, 1.3981999507e-3f);
  p = fmaf(p, r, 8.3334519073e-3f);
  p = fmaf(p, r, 4.1665795894e-2f);
  p = fmaf(p, r, 1.6666665459e-1f);
  p = fmaf(p, r, 5.0000001201e-1f);
  const float result = fmaf(p, r * r, r) + 1.0f;
  // The bits of a NaN are no exponent to add to: those of a GPU's would become a large number.
  if (result != result) return result;
  return std::bit_cast<float>(std::bit_cast<std::uint32_t>(result) +
                              (std::bit_cast<std::uint32_t>(shifted) << 23));
}

}  // namespace lockstep::kernels::cuda

// Numbers of more than four bits with a scale and a minimum, for a layout that has a scale alone.
#pragma once

#include <array>
#include <cstdint>

#include "kernels/stored_matrix.h"

namespace lockstep::kernels {

// scale * numbers[i] + minimum as bytes around zero. Their scale is a 127th of the largest value,
// rounded to f16, and each value is rounded by at most half of it. So five bits whose values lie
// evenly around zero lose at most a sixteenth of their own step, at worst (all of one sign, the
// smallest zero) an eighth. What is not finite comes out as numbers that are not.
QuantizedGroup centred_bytes(const std::array<std::uint8_t, 32>& numbers, float scale,
                             float minimum);

}  // namespace lockstep::kernels

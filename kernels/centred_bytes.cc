#include "kernels/centred_bytes.h"

#include <algorithm>
#include <cmath>

#include "kernels/half.h"

namespace lockstep::kernels {

QuantizedGroup centred_bytes(const std::array<std::uint8_t, 32>& numbers, float scale,
                             float minimum) {
  constexpr float kMost = 127.0f;
  std::array<float, 32> values;
  float largest = 0.0f * (scale + minimum);  // not a number where one of them is not finite
  for (std::size_t i = 0; i < values.size(); ++i) {
    values[i] = scale * static_cast<float>(numbers[i]) + minimum;
    largest = std::max(largest, std::fabs(values[i]));
  }
  QuantizedGroup group{};
  group.scale = float_to_f16(largest / kMost);
  const float step = f16_to_float(group.scale);
  if (step == 0.0f || !std::isfinite(step)) return group;
  for (std::size_t i = 0; i < values.size(); ++i) {
    const float rounded = std::nearbyint(values[i] / step);
    group.values[i] = static_cast<std::int8_t>(std::clamp(rounded, -kMost, kMost));
  }
  return group;
}

}  // namespace lockstep::kernels

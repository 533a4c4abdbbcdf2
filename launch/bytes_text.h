// Amounts of memory for people.
#pragma once

#include <spdlog/fmt/fmt.h>

#include <array>
#include <cmath>
#include <concepts>
#include <cstddef>
#include <string>

namespace lockstep::launch {

// "71.7 GiB", "128.0 KiB", "-3.2 MiB", "640 B".
template <std::integral Integer>
std::string bytes_text(Integer bytes) {
  constexpr std::array kUnits{"B", "KiB", "MiB", "GiB", "TiB"};
  auto value = static_cast<double>(bytes);
  std::size_t unit = 0;
  for (; std::abs(value) >= 1024 && unit + 1 < kUnits.size(); ++unit) value /= 1024;
  return unit == 0 ? fmt::format("{} B", bytes) : fmt::format("{:.1f} {}", value, kUnits[unit]);
}

}  // namespace lockstep::launch

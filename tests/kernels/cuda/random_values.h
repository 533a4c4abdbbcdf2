// What the tests of CUDA kernels are made of, besides what all tests of kernels are.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/half.h"
#include "tests/kernels/random_values.h"

namespace lockstep::kernels::cuda {

inline std::vector<std::uint16_t> to_bf16(const std::vector<float>& values) {
  std::vector<std::uint16_t> halves(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) halves[i] = float_to_bf16(values[i]);
  return halves;
}

// Elements [begin, begin + count).
template <class T>
std::vector<T> part(const std::vector<T>& values, std::size_t begin, std::size_t count) {
  const auto first = values.begin() + static_cast<std::ptrdiff_t>(begin);
  return {first, first + static_cast<std::ptrdiff_t>(count)};
}

}  // namespace lockstep::kernels::cuda

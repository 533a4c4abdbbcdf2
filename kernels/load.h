// Numbers from bytes that need not be aligned. Little-endian hosts only, as the file formats are.
#pragma once

#include <cstddef>
#include <cstring>

namespace lockstep::kernels {

template <class T>
T load(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return value;
}

}  // namespace lockstep::kernels

#include "kernels/gguf_k_blocks.h"

#include <algorithm>
#include <cstdlib>

#include "kernels/centred_bytes.h"
#include "kernels/half.h"
#include "kernels/load.h"

namespace lockstep::kernels {
namespace {

constexpr std::int64_t kGroups = 8;  // of 32 values in a superblock

const std::byte* superblock(const StoredMatrix& matrix, std::int64_t row, std::int64_t group) {
  const std::int64_t index = row * (matrix.columns / (32 * kGroups)) + group / kGroups;
  return matrix.values + static_cast<std::size_t>(index) * block_bytes(matrix.type);
}

int byte_at(const std::byte* bytes, std::size_t i) { return std::to_integer<int>(bytes[i]); }

// What a group's numbers are multiplied by, and what is added.
struct ScaleAndMinimum {
  float scale;
  float minimum;
};

// Of group `g` of a superblock of q4_k or q5_k: d, dmin, and 12 bytes of six bits each.
ScaleAndMinimum scale_and_minimum(const std::byte* superblock, std::size_t g) {
  const float d = f16_to_float(load<std::uint16_t>(superblock));
  const float dmin = f16_to_float(load<std::uint16_t>(superblock + 2));
  const std::byte* packed = superblock + 4;
  int scale = byte_at(packed, g), minimum = byte_at(packed, g + 4);
  if (g < 4) {
    scale &= 63, minimum &= 63;
  } else {
    const int low = minimum;
    scale = (low & 15) | (byte_at(packed, g - 4) >> 6) << 4;
    minimum = (low >> 4) | (byte_at(packed, g) >> 6) << 4;
  }
  return {d * static_cast<float>(scale), -(dmin * static_cast<float>(minimum))};
}

// Number `i` of group `g`, from 128 bytes of nibbles.
int nibble_at(const std::byte* nibbles, std::size_t g, std::size_t i) {
  return byte_at(nibbles, 32 * (g / 2) + i) >> (g % 2 == 0 ? 0 : 4) & 15;
}

// numerator / denominator to the nearest, halves away from zero. REQUIRES: denominator != 0.
int rounded_quotient(int numerator, int denominator) {
  const int size = (2 * std::abs(numerator) + std::abs(denominator)) / (2 * std::abs(denominator));
  return (numerator < 0) == (denominator < 0) ? size : -size;
}

}  // namespace

QuantizedGroup read_q4_k(const StoredMatrix& matrix, std::int64_t row, std::int64_t group) {
  const std::byte* from = superblock(matrix, row, group);
  const auto g = static_cast<std::size_t>(group % kGroups);
  const auto [scale, minimum] = scale_and_minimum(from, g);
  QuantizedGroup read;
  for (std::size_t i = 0; i < 32; ++i) {
    read.values[i] = static_cast<std::int8_t>(nibble_at(from + 16, g, i));
  }
  read.scale = float_to_f16(scale);
  read.minimum = float_to_f16(minimum);
  return read;
}

QuantizedGroup read_q5_k(const StoredMatrix& matrix, std::int64_t row, std::int64_t group) {
  const std::byte* from = superblock(matrix, row, group);
  const auto g = static_cast<std::size_t>(group % kGroups);
  const auto [scale, minimum] = scale_and_minimum(from, g);
  const std::byte* high = from + 16;
  std::array<std::uint8_t, 32> numbers;
  for (std::size_t i = 0; i < 32; ++i) {
    const int fifth = byte_at(high, i) >> g & 1;
    numbers[i] = static_cast<std::uint8_t>(nibble_at(from + 48, g, i) | fifth << 4);
  }
  return centred_bytes(numbers, scale, minimum);
}

QuantizedGroup read_q6_k(const StoredMatrix& matrix, std::int64_t row, std::int64_t group) {
  const std::byte* from = superblock(matrix, row, group);
  const auto g = static_cast<std::size_t>(group % kGroups);
  const std::size_t half = g / 4, j = g % 4;
  const std::byte* low = from + 64 * half + 32 * (j % 2);
  const std::byte* high = from + 128 + 32 * half;
  const std::byte* scale_bytes = from + 192 + 2 * g;
  const int scales[2] = {std::to_integer<std::int8_t>(scale_bytes[0]),
                         std::to_integer<std::int8_t>(scale_bytes[1])};
  const int larger = std::abs(scales[0]) >= std::abs(scales[1]) ? scales[0] : scales[1];
  QuantizedGroup read;
  for (std::size_t i = 0; i < 32; ++i) {
    const int bits = (byte_at(low, i) >> 4 * (j / 2) & 15) | (byte_at(high, i) >> 2 * j & 3) << 4;
    const int value = larger == 0 ? 0 : rounded_quotient(4 * (bits - 32) * scales[i / 16], larger);
    // Only -32 reaches 128, where the scales differ in their sign only.
    read.values[i] = static_cast<std::int8_t>(std::min(value, 127));
  }
  const float d = f16_to_float(load<std::uint16_t>(from + 208));
  read.scale = float_to_f16(d * static_cast<float>(larger) * 0.25f);
  return read;
}

}  // namespace lockstep::kernels

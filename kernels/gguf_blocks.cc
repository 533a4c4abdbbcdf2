#include "kernels/gguf_blocks.h"

#include <cstring>

#include "kernels/centred_bytes.h"
#include "kernels/half.h"
#include "kernels/load.h"

namespace lockstep::kernels {
namespace {

const std::byte* block(const StoredMatrix& matrix, std::int64_t row, std::int64_t group) {
  const std::int64_t index = row * (matrix.columns / 32) + group;
  return matrix.values + static_cast<std::size_t>(index) * block_bytes(matrix.type);
}

// Byte i holds value i in its low half and value i + 16 in its high half.
QuantizedGroup nibbles(const std::byte* bytes) {
  QuantizedGroup group;
  for (std::size_t i = 0; i < 16; ++i) {
    const auto both = std::to_integer<int>(bytes[i]);
    group.values[i] = static_cast<std::int8_t>(both & 15);
    group.values[i + 16] = static_cast<std::int8_t>(both >> 4);
  }
  return group;
}

// Numbers of five bits: their high bits in a word, the lowest first, then nibbles as above.
std::array<std::uint8_t, 32> five_bits(const std::byte* bytes) {
  const auto high = load<std::uint32_t>(bytes);
  const QuantizedGroup low = nibbles(bytes + 4);
  std::array<std::uint8_t, 32> numbers;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    numbers[i] = static_cast<std::uint8_t>(low.values[i] | static_cast<int>(high >> i & 1) << 4);
  }
  return numbers;
}

}  // namespace

QuantizedGroup read_q4_0(const StoredMatrix& matrix, std::int64_t row, std::int64_t group) {
  const std::byte* from = block(matrix, row, group);
  QuantizedGroup read = nibbles(from + 2);
  read.scale = load<std::uint16_t>(from);
  read.minimum = float_to_f16(-8.0f * f16_to_float(read.scale));
  return read;
}

QuantizedGroup read_q4_1(const StoredMatrix& matrix, std::int64_t row, std::int64_t group) {
  const std::byte* from = block(matrix, row, group);
  QuantizedGroup read = nibbles(from + 4);
  read.scale = load<std::uint16_t>(from);
  read.minimum = load<std::uint16_t>(from + 2);
  return read;
}

QuantizedGroup read_q5_0(const StoredMatrix& matrix, std::int64_t row, std::int64_t group) {
  const std::byte* from = block(matrix, row, group);
  const auto numbers = five_bits(from + 2);
  QuantizedGroup read;
  for (std::size_t i = 0; i < numbers.size(); ++i) {
    read.values[i] = static_cast<std::int8_t>(numbers[i] - 16);
  }
  read.scale = load<std::uint16_t>(from);
  return read;
}

QuantizedGroup read_q5_1(const StoredMatrix& matrix, std::int64_t row, std::int64_t group) {
  const std::byte* from = block(matrix, row, group);
  return centred_bytes(five_bits(from + 4), f16_to_float(load<std::uint16_t>(from)),
                       f16_to_float(load<std::uint16_t>(from + 2)));
}

QuantizedGroup read_q8_0(const StoredMatrix& matrix, std::int64_t row, std::int64_t group) {
  const std::byte* from = block(matrix, row, group);
  QuantizedGroup read;
  std::memcpy(read.values.data(), from + 2, read.values.size());
  read.scale = load<std::uint16_t>(from);
  return read;
}

}  // namespace lockstep::kernels

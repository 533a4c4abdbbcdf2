#include "kernels/awq_layout.h"

#include "kernels/separate_scales.h"

namespace lockstep::kernels {
namespace {

// Where row r of eight lies in a word: the inverse of (0, 2, 4, 6, 1, 3, 5, 7).
constexpr std::int64_t kNibbles[8] = {0, 4, 1, 5, 2, 6, 3, 7};

}  // namespace

QuantizedGroup read_awq(const StoredMatrix& matrix, std::int64_t row, std::int64_t group) {
  const std::int64_t nibble = kNibbles[row % 8];
  QuantizedGroup read;
  for (std::int64_t i = 0; i < 32; ++i) {
    const std::uint32_t word =
        word_at(matrix.values, (32 * group + i) * (matrix.rows / 8) + row / 8);
    read.values[static_cast<std::size_t>(i)] = static_cast<std::int8_t>(nibble_of(word, nibble));
  }
  set_scale(matrix, row, group, nibble, read);
  return read;
}

}  // namespace lockstep::kernels

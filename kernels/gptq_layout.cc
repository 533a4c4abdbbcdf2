#include "kernels/gptq_layout.h"

#include "kernels/separate_scales.h"

namespace lockstep::kernels {

QuantizedGroup read_gptq(const StoredMatrix& matrix, std::int64_t row, std::int64_t group) {
  QuantizedGroup read;
  for (std::int64_t i = 0; i < 32; ++i) {
    const std::uint32_t word = word_at(matrix.values, (4 * group + i / 8) * matrix.rows + row);
    read.values[static_cast<std::size_t>(i)] = static_cast<std::int8_t>(nibble_of(word, i % 8));
  }
  set_scale(matrix, row, group, row % 8, read);
  return read;
}

}  // namespace lockstep::kernels

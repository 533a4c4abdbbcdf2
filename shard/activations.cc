#include "shard/activations.h"

#include <algorithm>

namespace lockstep::shard {

Activations::Activations(std::int64_t max_rows, std::int64_t columns)
    : columns_(columns),
      values_(static_cast<std::size_t>(max_rows * columns) * sizeof(float)),
      bytes_(static_cast<std::size_t>(max_rows * columns)),
      scales_(static_cast<std::size_t>(max_rows * columns / kernels::kGroup) * sizeof(float)),
      sums_(static_cast<std::size_t>(max_rows * columns / kernels::kGroup) * sizeof(std::int32_t)) {
}

kernels::cpu::QuantizedRows Activations::quantized_row(std::int64_t row) const {
  const std::int64_t group = row * columns_ / kernels::kGroup;
  return {bytes_.as<std::int8_t>() + row * columns_, scales_.as<float>() + group,
          sums_.as<std::int32_t>() + group};
}

void Activations::quantize(const kernels::cpu::KernelTable& kernels, std::int64_t begin,
                           std::int64_t end) {
  kernels.quantize_rows(row(begin), end - begin, columns_, quantized_row(begin));
}

void multiply(kernels::ThreadPool& pool, const kernels::cpu::KernelTable& kernels,
              const Activations& x, std::int64_t rows, const kernels::LaneProgram& lanes,
              std::span<const Product> products) {
  std::int64_t blocks = 0;
  for (const Product& product : products) blocks += product.weights->row_blocks();
  pool.for_ranges(blocks, [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    std::int64_t first = 0;
    for (const Product& product : products) {
      const std::int64_t count = product.weights->row_blocks();
      const std::int64_t from = std::clamp<std::int64_t>(begin - first, 0, count);
      const std::int64_t to = std::clamp<std::int64_t>(end - first, 0, count);
      first += count;
      if (from == to) continue;
      kernels.linear({.weights = product.weights,
                      .x = x.row(0),
                      .quantized = x.quantized_row(0),
                      .m = rows,
                      .steps = lanes.steps.data(),
                      .num_steps = static_cast<std::int32_t>(lanes.steps.size()),
                      .block_begin = from,
                      .block_end = to,
                      .out = product.out,
                      .row_stride = product.row_stride,
                      .segment_stride = product.segment_stride});
    }
  });
}

}  // namespace lockstep::shard

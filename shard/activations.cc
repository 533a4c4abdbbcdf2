#include "shard/activations.h"

#include <algorithm>

namespace lockstep::shard {

namespace {

// Rows of a tile are read side by side. One cache line more than the columns need keeps them apart
// in the first-level cache, whose sets repeat every 4 KiB.
constexpr std::int64_t kRowPadding = 64;

// Tiles are whole.
std::int64_t rows_of_tiles(std::int64_t rows) {
  constexpr std::int64_t kRows = kernels::cpu::kTileTokens;
  return (rows + kRows - 1) / kRows * kRows;
}

template <class T>
kernels::AlignedBuffer buffer(std::int64_t count) {
  return kernels::AlignedBuffer(static_cast<std::size_t>(count) * sizeof(T));
}

void add_forms(const Compute& compute, const kernels::PackedMatrix& weights, RoundedForms& forms) {
  const bool in_rows = weights.layout() == kernels::PackedLayout::rows;
  forms.tiles |= in_rows;
  forms.bf16 |= !in_rows && compute.activations(weights) == kernels::ActivationFormat::bf16;
  forms.int8 |= compute.activations(weights) == kernels::ActivationFormat::int8;
}

}  // namespace

Activations::Activations(std::int64_t max_rows, std::int64_t columns, bool has_wide_groups)
    : columns_(columns),
      has_wide_groups_(has_wide_groups),
      rounded_stride_(columns + kRowPadding),
      group_stride_(columns / kernels::kGroup),
      values_(buffer<float>(max_rows * columns)),
      halves_(buffer<std::uint16_t>(rows_of_tiles(max_rows) * rounded_stride_)),
      half_sums_(buffer<float>(max_rows * group_stride_)),
      bytes_(buffer<std::int8_t>(max_rows * rounded_stride_)),
      low_(buffer<std::int8_t>(max_rows * rounded_stride_)),
      scales_(buffer<float>(max_rows * group_stride_)),
      offsets_(buffer<float>(max_rows * group_stride_)),
      biases_(buffer<std::int32_t>(max_rows * group_stride_)),
      low_biases_(buffer<std::int32_t>(max_rows * group_stride_)),
      wide_(buffer<std::uint8_t>(max_rows * group_stride_)) {}

std::size_t Activations::bytes(std::int64_t max_rows, std::int64_t columns) {
  const std::int64_t rounded = columns + kRowPadding;
  const std::int64_t groups = columns / kernels::kGroup;
  constexpr std::int64_t kOfGroup = 3 * sizeof(float) + 2 * sizeof(std::int32_t) + 1;
  const std::int64_t of_row =
      columns * std::int64_t{sizeof(float)} + 2 * rounded + groups * kOfGroup;
  return static_cast<std::size_t>(max_rows * of_row + rows_of_tiles(max_rows) * rounded *
                                                          std::int64_t{sizeof(std::uint16_t)});
}

std::size_t Activations::bytes() const {
  std::size_t total = 0;
  for (const auto* part : {&values_, &halves_, &half_sums_, &bytes_, &low_, &scales_, &offsets_,
                           &biases_, &low_biases_, &wide_}) {
    total += part->size();
  }
  return total;
}

kernels::cpu::ActivationRows Activations::view(std::int64_t row, std::int64_t column) const {
  const kernels::cpu::QuantizedRows bytes = {.values = bytes_.as<std::int8_t>(),
                                             .low = low_.as<std::int8_t>(),
                                             .value_stride = rounded_stride_,
                                             .scales = scales_.as<float>(),
                                             .offsets = offsets_.as<float>(),
                                             .biases = biases_.as<std::int32_t>(),
                                             .low_biases = low_biases_.as<std::int32_t>(),
                                             .wide = wide_.as<std::uint8_t>(),
                                             .group_stride = group_stride_,
                                             .has_wide_groups = has_wide_groups_};
  constexpr std::int64_t kTileRows = kernels::cpu::kTileTokens;
  const std::int64_t tile_stride = kTileRows * columns_;
  return {.values = values_.as<float>() + row * columns_ + column,
          .stride = columns_,
          .halves = halves_.as<std::uint16_t>() + row * rounded_stride_ + column,
          .half_stride = rounded_stride_,
          .half_sums = half_sums_.as<float>() + row * group_stride_ + column / kernels::kGroup,
          .bytes = bytes.from(row, column),
          .tiles = {.values = halves_.as<std::uint16_t>() + row / kTileRows * tile_stride +
                              column * kTileRows,
                    .row_stride = tile_stride}};
}

void Activations::round(const kernels::cpu::KernelTable& kernels, RoundedForms forms,
                        std::int64_t begin, std::int64_t end, std::int64_t column,
                        std::int64_t columns) {
  const kernels::cpu::ActivationRows rows = view(begin, column);
  if (forms.bf16) kernels.round_rows(rows, end - begin, columns);
  if (forms.int8) kernels.quantize_rows(rows, end - begin, columns);
  if (forms.tiles) kernels.tile_rows(rows, end - begin, columns);
}

RoundedForms Compute::rounded_forms(
    std::initializer_list<const kernels::PackedMatrix*> all_weights) const {
  RoundedForms forms;
  for (const kernels::PackedMatrix* weights : all_weights) add_forms(*this, *weights, forms);
  return forms;
}

RoundedForms Compute::rounded_forms(std::span<const kernels::PackedMatrix> all_weights) const {
  RoundedForms forms;
  for (const kernels::PackedMatrix& weights : all_weights) add_forms(*this, weights, forms);
  return forms;
}

void multiply(const Compute& compute, const Activations& x, std::int64_t rows,
              const kernels::LaneProgram& lanes, std::span<const Product> products) {
  std::int64_t blocks = 0;
  for (const Product& product : products) blocks += product.weights->row_blocks();
  compute.pool->for_ranges(blocks, [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    std::int64_t first = 0;
    for (const Product& product : products) {
      const std::int64_t count = product.weights->row_blocks();
      const std::int64_t from = std::clamp<std::int64_t>(begin - first, 0, count);
      const std::int64_t to = std::clamp<std::int64_t>(end - first, 0, count);
      first += count;
      if (from == to) continue;
      compute.kernels->linear({.weights = product.weights,
                               .activations = compute.activations(*product.weights),
                               .x = x.view(),
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

void multiply_swiglu(const Compute& compute, const Activations& x, std::int64_t rows,
                     const kernels::LaneProgram& lanes, const kernels::PackedMatrix& gate,
                     const kernels::PackedMatrix& up, const kernels::PackedMatrix& down,
                     Activations& inner) {
  const RoundedForms forms = compute.rounded_forms({&down});
  const std::int64_t groups = inner.columns() / kernels::kGroup;
  compute.pool->for_ranges(groups, [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
    compute.kernels->swiglu({.gate = {.weights = &gate,
                                      .activations = compute.activations(gate),
                                      .x = x.view(),
                                      .m = rows,
                                      .steps = lanes.steps.data(),
                                      .num_steps = static_cast<std::int32_t>(lanes.steps.size())},
                             .up = &up,
                             .interleaved = &gate == &up,
                             .up_activations = compute.activations(up),
                             .out = inner.view(),
                             .out_f32 = compute.activations(down) == kernels::ActivationFormat::f32,
                             .out_bf16 = forms.bf16,
                             .out_int8 = forms.int8,
                             .out_tiles = forms.tiles,
                             .group_begin = begin,
                             .group_end = end});
  });
}

}  // namespace lockstep::shard

#include "shard/gpu/weight_slab.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <string>
#include <utility>

#include "base/error.h"
#include "kernels/byte_layout.h"
#include "kernels/fp8.h"
#include "kernels/half.h"
#include "kernels/weight_format.h"
#include "shard/rank_memory.h"

namespace lockstep::shard {
namespace {

using kernels::DType;
using kernels::cuda::TileFormat;
using model::Tensor;

// Of a tensor of plain numbers.
float element(const Tensor& tensor, std::int64_t i) {
  return kernels::plain_value(tensor.dtype, tensor.data.data(), i);
}

bool is_in_bytes(const Tensor& tensor) {
  return tensor.dtype == DType::i8 || tensor.dtype == DType::u8 || tensor.dtype == DType::e4m3;
}

float number_of(DType type, std::uint8_t byte) {
  if (type == DType::e4m3) return kernels::e4m3_to_float(byte);
  return type == DType::u8 ? static_cast<float>(byte) - 128.0f : static_cast<std::int8_t>(byte);
}

const std::uint8_t* bytes_at(const Tensor& tensor, std::int64_t row, std::int64_t column) {
  return reinterpret_cast<const std::uint8_t*>(tensor.data.data()) + row * tensor.columns() +
         column;
}

// Hugging Face's row `row` of a projection with heads of `head_dim`, as it is stored.
std::int64_t stored_row(const Tensor& tensor, std::int64_t row, std::int64_t head_dim) {
  if (!tensor.rope_interleaved) return row;
  const std::int64_t in_head = row % head_dim, half = head_dim / 2;
  return row - in_head + (in_head < half ? 2 * in_head : 2 * (in_head - half) + 1);
}

void add_bytes_as_bf16(const Tensor& tensor, std::int64_t row, Range columns,
                       std::vector<std::uint16_t>& values) {
  const kernels::StoredMatrix stored = tensor.matrix();
  for (std::int64_t i = columns.begin; i < columns.end; ++i) {
    const float number = number_of(tensor.dtype, *bytes_at(tensor, row, i));
    values.push_back(kernels::float_to_bf16(kernels::scale_at(stored, row, i) * number));
  }
}

void add_bf16(const Tensor& tensor, std::int64_t row, Range columns,
              std::vector<std::uint16_t>& values) {
  const std::int64_t first = row * tensor.columns();
  if (tensor.dtype == DType::bf16) {
    const auto at = values.size();
    values.resize(at + static_cast<std::size_t>(columns.size()));
    std::memcpy(&values[at], tensor.data.data() + (first + columns.begin) * 2,
                static_cast<std::size_t>(columns.size()) * 2);
    return;
  }
  if (kernels::is_plain(tensor.dtype)) {
    for (std::int64_t i = columns.begin; i < columns.end; ++i) {
      values.push_back(kernels::float_to_bf16(element(tensor, first + i)));
    }
    return;
  }
  if (is_in_bytes(tensor)) return add_bytes_as_bf16(tensor, row, columns, values);
  const auto read = kernels::weight_format(tensor.dtype).read_group;
  for (std::int64_t i = columns.begin / kernels::kGroup; i < columns.end / kernels::kGroup; ++i) {
    const kernels::QuantizedGroup group = read(tensor.matrix(), row, i);
    const float scale = kernels::f16_to_float(group.scale);
    const float minimum = kernels::f16_to_float(group.minimum);
    for (const std::int8_t value : group.values) {
      values.push_back(
          kernels::float_to_bf16(std::fmaf(scale, static_cast<float>(value), minimum)));
    }
  }
}

// Appends the columns' numbers, signed or e4m3.
void add_bytes(const Tensor& tensor, std::int64_t row, Range columns,
               std::vector<std::uint8_t>& values) {
  const std::uint8_t flipped = tensor.dtype == DType::u8 ? 0x80 : 0;
  std::transform(bytes_at(tensor, row, columns.begin), bytes_at(tensor, row, columns.end),
                 std::back_inserter(values), [=](std::uint8_t byte) { return byte ^ flipped; });
}

// Appends the columns, rounded to e4m3, and returns the row's scale.
float add_rounded_to_e4m3(const Tensor& tensor, std::int64_t row, Range columns,
                          std::vector<std::uint8_t>& values) {
  const std::int64_t first = row * tensor.columns();
  float largest = 0;
  for (std::int64_t i = 0; i < tensor.columns(); ++i) {
    largest = std::max(largest, std::fabs(element(tensor, first + i)));
  }
  const float scale = largest / kernels::kLargestE4m3;
  for (std::int64_t i = columns.begin; i < columns.end; ++i) {
    const float value = element(tensor, first + i);
    values.push_back(kernels::float_to_e4m3(scale > 0 ? value / scale : 0.0f));
  }
  return scale;
}

// Calls body(part, stored row) for the rows [begin, end) of the parts, one below the other.
template <class Body>
void for_rows(std::span<const StoredPart> parts, std::int32_t begin, std::int32_t end,
              const Body& body) {
  std::int32_t first = 0;  // of the part, among the rows of all
  for (const StoredPart& part : parts) {
    const std::int32_t to = std::min(end, first + part.rows.size());
    for (std::int32_t i = std::max(begin, first); i < to; ++i) {
      body(part, stored_row(*part.tensor, part.rows.begin + (i - first), part.head_dim));
    }
    first += part.rows.size();
  }
}

// Calls body(group) for their groups of columns, row after row.
template <class Body>
void for_groups(std::span<const StoredPart> parts, std::int32_t begin, std::int32_t end,
                const Body& body) {
  for_rows(parts, begin, end, [&](const StoredPart& part, std::int64_t row) {
    const Tensor& tensor = *part.tensor;
    const auto read = kernels::weight_format(tensor.dtype).read_group;
    const std::int64_t last = part.columns.end / kernels::kGroup;
    for (std::int64_t i = part.columns.begin / kernels::kGroup; i < last; ++i) {
      body(read(tensor.matrix(), row, i));
    }
  });
}

kernels::cuda::HostWeightTiles pack_blocks(std::span<const StoredPart> parts, std::int32_t begin,
                                           std::int32_t end) {
  std::vector<std::uint8_t> bytes;
  std::vector<std::pair<const StoredPart*, std::int64_t>> stored;  // of each row
  for_rows(parts, begin, end, [&](const StoredPart& part, std::int64_t row) {
    add_bytes(*part.tensor, row, part.columns, bytes);
    stored.emplace_back(&part, row);
  });
  const auto scale_of = [&](std::int32_t row, std::int32_t column) {
    const auto& [part, stored_row] = stored[static_cast<std::size_t>(row)];
    return kernels::scale_at(part->tensor->matrix(), stored_row, part->columns.begin + column);
  };
  return kernels::cuda::pack_e4m3_blocks(bytes, scale_of, end - begin, parts[0].columns.size());
}

}  // namespace

TileFormat tile_format(const Tensor& tensor, bool fp8) {
  const kernels::WeightFormat& format = kernels::weight_format(tensor.dtype);
  if (!format.packed) {
    throw Error(tensor.name + ": " + std::string(format.name) + " is not a type of weights");
  }
  if (tensor.dtype == DType::e4m3) {
    return tensor.scale_columns < tensor.columns() ? TileFormat::e4m3_block
                                                   : TileFormat::e4m3_channel;
  }
  if (fp8 && !kernels::is_plain(tensor.dtype)) {
    throw Error("--quantization fp8 is for weights in bf16, f16, f32 or e4m3: " + tensor.name +
                " is " + std::string(format.name));
  }
  if (fp8) return TileFormat::e4m3_channel;
  if (matrix_format(tensor) == MatrixFormat::int8) return TileFormat::int8_channel;
  switch (*format.packed) {
    case kernels::PackedFormat::q4:
    case kernels::PackedFormat::q4_0: return TileFormat::int4_group;
    case kernels::PackedFormat::q8: return TileFormat::int8_group;
    default: return TileFormat::bf16;
  }
}

std::vector<std::uint16_t> plain_rows(std::span<const StoredPart> parts, std::int32_t begin,
                                      std::int32_t end) {
  std::vector<std::uint16_t> values;
  values.reserve(static_cast<std::size_t>(end - begin) * parts[0].columns.size());
  for_rows(parts, begin, end, [&](const StoredPart& part, std::int64_t row) {
    add_bf16(*part.tensor, row, part.columns, values);
  });
  return values;
}

kernels::cuda::HostWeightTiles pack_rows(std::span<const StoredPart> parts, TileFormat format,
                                         std::int32_t begin, std::int32_t end) {
  const std::int32_t columns = parts[0].columns.size();
  const std::int32_t rows = end - begin;
  switch (format) {
    case TileFormat::bf16:
      return kernels::cuda::pack_bf16(plain_rows(parts, begin, end), rows, columns);
    case TileFormat::int4_group: {
      std::vector<kernels::cuda::Int4Group> groups;
      for_groups(parts, begin, end, [&](const kernels::QuantizedGroup& group) {
        kernels::cuda::Int4Group& added = groups.emplace_back();
        std::ranges::copy(group.values, added.values);
        added.scale = group.scale;
        added.minimum = group.minimum;
      });
      return kernels::cuda::pack_int4(groups, rows, columns);
    }
    case TileFormat::int8_group: {
      std::vector<kernels::cuda::Int8Group> groups;
      for_groups(parts, begin, end, [&](const kernels::QuantizedGroup& group) {
        kernels::cuda::Int8Group& added = groups.emplace_back();
        std::ranges::copy(group.values, added.values);
        added.scale = group.scale;
      });
      return kernels::cuda::pack_int8(groups, rows, columns);
    }
    case TileFormat::e4m3_block: return pack_blocks(parts, begin, end);
    case TileFormat::int8_channel:
    case TileFormat::e4m3_channel: break;
  }
  std::vector<std::uint8_t> bytes;
  std::vector<float> scales;
  for_rows(parts, begin, end, [&](const StoredPart& part, std::int64_t row) {
    if (!is_in_bytes(*part.tensor)) {
      scales.push_back(add_rounded_to_e4m3(*part.tensor, row, part.columns, bytes));
      return;
    }
    add_bytes(*part.tensor, row, part.columns, bytes);
    scales.push_back(kernels::scale_at(part.tensor->matrix(), row, 0));
  });
  return kernels::cuda::pack_channels(format, bytes, scales, rows, columns);
}

std::vector<float> vector_values(const Tensor& tensor) {
  if (!kernels::is_plain(tensor.dtype)) {
    throw Error(tensor.name + " is " + std::string(kernels::name(tensor.dtype)) +
                ": a norm or a bias must be f32, f16 or bf16");
  }
  std::vector<float> values;
  for (std::int64_t i = 0; i < tensor.shape[0]; ++i) values.push_back(element(tensor, i));
  return values;
}

}  // namespace lockstep::shard

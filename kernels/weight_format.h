// The table of storage formats.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>

#include "kernels/packed_matrix.h"
#include "kernels/stored_matrix.h"

namespace lockstep::kernels {

// One line of the table. A new format is such a line and, when it is quantized, its reader.
struct WeightFormat {
  DType type;
  std::string_view name;
  std::size_t block_values;
  std::size_t block_bytes;             // without the scales that lie apart
  std::optional<PackedFormat> packed;  // nothing: not a type of weights
  // nullptr: values that are copied as they are, those of e4m3 beside their scales.
  GroupReader read_group;
};

const WeightFormat& weight_format(DType type);

}  // namespace lockstep::kernels

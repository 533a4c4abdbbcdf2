// Sizes of tensors as they lie in a file, computed without overflow.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>

#include "kernels/dtype.h"

namespace lockstep::model {

// a * b and a + b, or nothing when the result does not fit.
std::optional<std::uint64_t> checked_multiply(std::uint64_t a, std::uint64_t b);
std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b);

// Bytes of a dense tensor of that type and shape (outermost first). Throws Error
// "<file>: <field>: ..." when the shape has no dimension or more than kMaxDimensions, a dimension
// below 1, a product that overflows 64 bits, or rows that are not whole blocks of `type`.
std::uint64_t tensor_bytes(kernels::DType type, std::span<const std::int64_t> shape,
                           const std::string& file, const std::string& field);

// The alignment that a pointer to elements (or block headers) of `type` needs.
constexpr std::size_t element_alignment(kernels::DType type) {
  using kernels::DType;
  if (type == DType::i8 || type == DType::e4m3) return 1;
  return type == DType::f32 || type == DType::i32 ? 4 : 2;
}

// "[576, 1536]"
std::string shape_text(std::span<const std::int64_t> shape);

}  // namespace lockstep::model

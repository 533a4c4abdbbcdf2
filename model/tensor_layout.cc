#include "model/tensor_layout.h"

#include "model/fail.h"
#include "model/limits.h"

namespace lockstep::model {

std::optional<std::uint64_t> checked_multiply(std::uint64_t a, std::uint64_t b) {
  std::uint64_t product;
  if (__builtin_mul_overflow(a, b, &product)) return std::nullopt;
  return product;
}

std::optional<std::uint64_t> checked_add(std::uint64_t a, std::uint64_t b) {
  std::uint64_t sum;
  if (__builtin_add_overflow(a, b, &sum)) return std::nullopt;
  return sum;
}

std::uint64_t tensor_bytes(kernels::DType type, std::span<const std::int64_t> shape,
                           const std::string& file, const std::string& field) {
  if (shape.empty() || shape.size() > kMaxDimensions) {
    fail(file, field + ": " + std::to_string(shape.size()) +
                   " dimensions; a tensor has between 1 and " + std::to_string(kMaxDimensions));
  }
  for (const std::int64_t dimension : shape) {
    if (dimension < 1)
      fail(file, field + ": shape " + shape_text(shape) + " has an empty dimension");
  }
  const auto columns = static_cast<std::uint64_t>(shape.back());
  const std::uint64_t block = kernels::block_values(type);
  if (columns % block != 0) {
    fail(file, field + ": rows of " + std::to_string(columns) + " values are not whole blocks of " +
                   std::to_string(block) + " (" + std::string(kernels::name(type)) + ")");
  }
  auto bytes = checked_multiply(columns / block, kernels::block_bytes(type));
  for (const std::int64_t dimension : shape.first(shape.size() - 1)) {
    if (bytes) bytes = checked_multiply(*bytes, static_cast<std::uint64_t>(dimension));
  }
  if (!bytes) fail(file, field + ": shape " + shape_text(shape) + " overflows 64 bits");
  return *bytes;
}

std::string shape_text(std::span<const std::int64_t> shape) {
  std::string text = "[";
  for (const std::int64_t dimension : shape) {
    if (text.size() > 1) text += ", ";
    text += std::to_string(dimension);
  }
  return text + "]";
}

}  // namespace lockstep::model

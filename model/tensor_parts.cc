#include "model/tensor_parts.h"

#include <algorithm>
#include <utility>

#include "kernels/load.h"
#include "model/fail.h"
#include "model/tensor_layout.h"

namespace lockstep::model {

TensorParts::TensorParts(std::vector<Tensor> tensors, const std::string& file) : file_(file) {
  for (Tensor& tensor : tensors) {
    std::string name = tensor.name;
    tensors_.emplace(std::move(name), std::move(tensor));
  }
}

std::optional<Tensor> TensorParts::take(const std::string& name) {
  auto node = tensors_.extract(name);
  if (node.empty()) return std::nullopt;
  return std::move(node.mapped());
}

Tensor TensorParts::take(const std::string& name, kernels::DType type) {
  auto tensor = take(name);
  if (!tensor) fail_at(name, "is missing");
  if (tensor->dtype != type) {
    fail_at(name, "type " + std::string(kernels::name(tensor->dtype)) + " is not " +
                      std::string(kernels::name(type)));
  }
  return *std::move(tensor);
}

Tensor TensorParts::take(const std::string& name, kernels::DType type, const TensorShape& shape,
                         std::string_view source) {
  Tensor tensor = take(name, type);
  if (tensor.shape != shape) {
    fail_at(name, "shape " + shape_text(tensor.shape) + "; " + std::string(source) + " ask for " +
                      shape_text(shape));
  }
  return tensor;
}

void TensorParts::take_order(const std::string& name, bool required, std::int64_t columns,
                             std::int64_t group_size, std::string_view source) {
  if (!required && !has(name)) return;
  const Tensor order = take(name, kernels::DType::i32, {columns}, source);
  for (std::int64_t k = 0; k < columns; ++k) {
    const auto group =
        kernels::load<std::int32_t>(order.data.data() + 4 * static_cast<std::size_t>(k));
    if (group == k / group_size) continue;
    fail_at(name, "column " + std::to_string(k) + " is of group " + std::to_string(group) +
                      ", not " + std::to_string(k / group_size) +
                      ": activation order is not supported");
  }
}

std::vector<Tensor> TensorParts::rest() && {
  std::vector<Tensor> rest;
  for (auto& [name, tensor] : tensors_) rest.push_back(std::move(tensor));
  return rest;
}

void TensorParts::fail_at(const std::string& name, const std::string& message) const {
  fail(file_, "tensor " + in_quotes(name) + ": " + message);
}

bool is_zero(const Tensor& tensor) {
  return std::ranges::all_of(tensor.data, [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace lockstep::model

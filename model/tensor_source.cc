#include "model/tensor_source.h"

#include <algorithm>

#include "model/fail.h"
#include "model/tensor_layout.h"

namespace lockstep::model {

std::int64_t Tensor::rows() const {
  std::int64_t product = 1;
  for (std::size_t i = 0; i + 1 < shape.size(); ++i) product *= shape[i];
  return product;
}

std::int64_t Tensor::columns() const { return shape.back(); }

std::size_t Tensor::row_bytes() const {
  return static_cast<std::size_t>(columns()) / kernels::block_values(dtype) *
         kernels::block_bytes(dtype);
}

kernels::StoredMatrix Tensor::matrix() const {
  return {dtype,
          rows(),
          columns(),
          data.data(),
          {scales.data(), zeros.data(), group_size, zero_offset},
          {scales.data(), scale_type, scale_rows, scale_columns, zeros.data()}};
}

const Tensor& TensorSource::require(std::string_view name,
                                    std::span<const std::int64_t> shape) const {
  const Tensor* tensor = find(name);
  if (tensor == nullptr) fail(path(), "tensor " + in_quotes(name) + " is missing");
  if (!std::ranges::equal(tensor->shape, shape)) {
    fail(path(), "tensor " + in_quotes(name) + ": shape " + shape_text(tensor->shape) +
                     "; the model's configuration asks for " + shape_text(shape));
  }
  return *tensor;
}

}  // namespace lockstep::model

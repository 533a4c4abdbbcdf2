#include "model/hf_quantized_tensors.h"

#include <algorithm>
#include <iterator>
#include <map>
#include <utility>

#include "kernels/load.h"
#include "model/fail.h"
#include "model/tensor_layout.h"

namespace lockstep::model {
namespace {

using kernels::DType;
using Shape = std::vector<std::int64_t>;

constexpr std::string_view kValues = ".qweight";
constexpr std::int64_t kWord = 8;  // nibbles

// The tensors of a folder by name, taken out one by one. (That no name is there twice is checked
// when the rest becomes a TensorTable.)
class Parts {
 public:
  Parts(std::vector<Tensor> tensors, const std::string& file) : file_(file) {
    for (Tensor& tensor : tensors) {
      std::string name = tensor.name;
      tensors_.emplace(std::move(name), std::move(tensor));
    }
  }

  std::vector<std::string> modules() const {
    std::vector<std::string> names;
    for (const auto& [name, tensor] : tensors_) {
      if (!name.ends_with(kValues)) continue;
      names.push_back(name.substr(0, name.size() - kValues.size()));
    }
    return names;
  }

  std::optional<Tensor> take(const std::string& name) {
    auto node = tensors_.extract(name);
    if (node.empty()) return std::nullopt;
    return std::move(node.mapped());
  }

  // The part of that name; throws Error unless it is there with this type.
  Tensor take(const std::string& name, DType type) {
    auto tensor = take(name);
    if (!tensor) fail_at(name, "is missing");
    check_type(*tensor, type);
    return *std::move(tensor);
  }

  // ... and this shape, which follows from qweight's and quantization_config.
  Tensor take(const std::string& name, DType type, const Shape& shape) {
    Tensor tensor = take(name, type);
    if (tensor.shape != shape) {
      fail_at(name, "shape " + shape_text(tensor.shape) +
                        "; qweight and quantization_config ask for " + shape_text(shape));
    }
    return tensor;
  }

  bool has(const std::string& name) const { return tensors_.contains(name); }

  std::vector<Tensor> rest() && {
    std::vector<Tensor> rest;
    for (auto& [name, tensor] : tensors_) rest.push_back(std::move(tensor));
    return rest;
  }

  [[noreturn]] void fail_at(const std::string& name, const std::string& message) const {
    fail(file_, "tensor " + in_quotes(name) + ": " + message);
  }

 private:
  void check_type(const Tensor& tensor, DType type) const {
    if (tensor.dtype == type) return;
    fail_at(tensor.name, "type " + std::string(kernels::name(tensor.dtype)) + " is not " +
                             std::string(kernels::name(type)));
  }

  const std::string& file_;
  std::multimap<std::string, Tensor> tensors_;
};

// [out_features, in_features], from the shape of the words.
Shape matrix_shape(const Tensor& words, DType type, const Parts& parts) {
  if (words.shape.size() != 2) {
    parts.fail_at(words.name, "shape " + shape_text(words.shape) + " is not that of a matrix");
  }
  const Shape shape = type == DType::gptq ? Shape{words.shape[1], words.shape[0] * kWord}
                                          : Shape{words.shape[1] * kWord, words.shape[0]};
  if (shape[0] % kWord != 0 || shape[1] % 32 != 0) {
    parts.fail_at(words.name, "stands for a matrix " + shape_text(shape) +
                                  "; its rows must be a multiple of 8, its columns of 32");
  }
  return shape;
}

// Column k must belong to group k / group_size: activation order would gather columns from
// anywhere.
void check_order(const Tensor& g_idx, std::int64_t group_size, const Parts& parts) {
  for (std::int64_t k = 0; k < g_idx.shape[0]; ++k) {
    const auto group =
        kernels::load<std::int32_t>(g_idx.data.data() + 4 * static_cast<std::size_t>(k));
    if (group == k / group_size) continue;
    parts.fail_at(g_idx.name, "column " + std::to_string(k) + " is of group " +
                                  std::to_string(group) + ", not " +
                                  std::to_string(k / group_size) +
                                  ": activation order (desc_act) is not supported");
  }
}

// Some files have a bias of zeros for every matrix.
void refuse_bias(const std::string& name, Parts& parts) {
  const auto bias = parts.take(name);
  if (!bias || std::ranges::all_of(bias->data, [](std::byte b) { return b == std::byte{0}; })) {
    return;
  }
  parts.fail_at(name, "is not zero: biases are not supported");
}

Tensor join(const std::string& module, const HfQuantization& quantization, Parts& parts) {
  Tensor values = parts.take(module + std::string(kValues), DType::i32);
  const Shape shape = matrix_shape(values, quantization.type, parts);
  const auto [rows, columns] = std::pair(shape[0], shape[1]);
  const std::int64_t group_size = quantization.group_size == -1 ? columns : quantization.group_size;
  const std::int64_t groups = (columns + group_size - 1) / group_size;
  const Tensor zeros = parts.take(module + ".qzeros", DType::i32, {groups, rows / kWord});
  const Tensor scales = parts.take(module + ".scales", DType::f16, {groups, rows});
  const std::string g_idx = module + ".g_idx";
  if (quantization.desc_act || parts.has(g_idx)) {
    check_order(parts.take(g_idx, DType::i32, {columns}), group_size, parts);
  }
  refuse_bias(module + ".bias", parts);
  return {.name = module + ".weight",
          .dtype = quantization.type,
          .shape = shape,
          .data = values.data,
          .scales = scales.data,
          .zeros = zeros.data,
          .group_size = group_size,
          .zero_offset = quantization.zero_offset};
}

}  // namespace

std::vector<Tensor> join_quantized(std::vector<Tensor> tensors,
                                   const std::optional<HfQuantization>& quantization,
                                   const std::string& file) {
  Parts parts(std::move(tensors), file);
  std::vector<Tensor> joined;
  for (const std::string& module : parts.modules()) {
    if (!quantization) {
      parts.fail_at(module + std::string(kValues),
                    "is quantized, but config.json has no quantization_config");
    }
    joined.push_back(join(module, *quantization, parts));
  }
  std::vector<Tensor> all = std::move(parts).rest();
  std::ranges::move(joined, std::back_inserter(all));
  return all;
}

}  // namespace lockstep::model

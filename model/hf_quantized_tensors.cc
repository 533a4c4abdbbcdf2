#include "model/hf_quantized_tensors.h"

#include <algorithm>
#include <iterator>
#include <utility>

#include "kernels/load.h"
#include "model/hf_byte_tensors.h"
#include "model/tensor_layout.h"
#include "model/tensor_parts.h"

namespace lockstep::model {
namespace {

using kernels::DType;

constexpr std::string_view kWords = ".qweight";
constexpr std::int64_t kWord = 8;  // nibbles
constexpr std::string_view kSource = "qweight and quantization_config";

// [out_features, in_features], from the shape of the words.
TensorShape matrix_shape(const Tensor& words, DType type, const TensorParts& parts) {
  if (words.shape.size() != 2) {
    parts.fail_at(words.name, "shape " + shape_text(words.shape) + " is not that of a matrix");
  }
  const TensorShape shape = type == DType::gptq
                                ? TensorShape{words.shape[1], words.shape[0] * kWord}
                                : TensorShape{words.shape[1] * kWord, words.shape[0]};
  if (shape[0] % kWord != 0 || shape[1] % 32 != 0) {
    parts.fail_at(words.name, "stands for a matrix " + shape_text(shape) +
                                  "; its rows must be a multiple of 8, its columns of 32");
  }
  return shape;
}

// Whether every zero point is 8.
bool are_eights(const Tensor& zeros, std::uint32_t offset) {
  for (std::size_t at = 0; at < zeros.data.size(); at += 4) {
    if (kernels::load<std::uint32_t>(zeros.data.data() + at) + offset != 0x88888888u) return false;
  }
  return true;
}

// The type of a matrix with these zero points: symmetric quantizers write no others than 8.
DType type_with(const Tensor& zeros, const HfQuantization& quantization) {
  if (!are_eights(zeros, quantization.zero_offset)) return quantization.type;
  return quantization.type == DType::gptq ? DType::gptq_8 : DType::awq_8;
}

Tensor join_words(const std::string& module, const HfQuantization& quantization,
                  TensorParts& parts) {
  Tensor values = parts.take(module + std::string(kWords), DType::i32);
  const TensorShape shape = matrix_shape(values, quantization.type, parts);
  const auto [rows, columns] = std::pair(shape[0], shape[1]);
  const std::int64_t group_size = quantization.group_size == -1 ? columns : quantization.group_size;
  const std::int64_t groups = (columns + group_size - 1) / group_size;
  const Tensor zeros = parts.take(module + ".qzeros", DType::i32, {groups, rows / kWord}, kSource);
  const Tensor scales = parts.take(module + ".scales", DType::f16, {groups, rows}, kSource);
  parts.take_order(module + ".g_idx", quantization.desc_act, columns, group_size, kSource);
  return {.name = module + ".weight",
          .dtype = type_with(zeros, quantization),
          .shape = shape,
          .data = values.data,
          .scales = scales.data,
          .zeros = zeros.data,
          .group_size = group_size,
          .zero_offset = quantization.zero_offset};
}

bool is_in_words(const HfQuantization& quantization) {
  return quantization.type == DType::gptq || quantization.type == DType::awq;
}

}  // namespace

std::vector<Tensor> join_quantized(std::vector<Tensor> tensors,
                                   const std::optional<HfQuantization>& quantization,
                                   const std::string& file) {
  TensorParts parts(std::move(tensors), file);
  std::vector<Tensor> joined;
  for (const std::string& words :
       parts.names([](const Tensor& tensor) { return tensor.name.ends_with(kWords); })) {
    if (!quantization || !is_in_words(*quantization)) {
      parts.fail_at(words, quantization
                               ? "is of gptq or awq, which quantization_config does not say"
                               : "is quantized, but config.json has no quantization_config");
    }
    joined.push_back(
        join_words(words.substr(0, words.size() - kWords.size()), *quantization, parts));
  }
  std::ranges::move(join_bytes(parts, quantization), std::back_inserter(joined));
  std::vector<Tensor> all = std::move(parts).rest();
  std::ranges::move(joined, std::back_inserter(all));
  return all;
}

}  // namespace lockstep::model

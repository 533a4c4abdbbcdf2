#include "model/hf_byte_tensors.h"

#include <array>
#include <charconv>
#include <string>
#include <string_view>
#include <utility>

#include "kernels/byte_layout.h"
#include "kernels/load.h"
#include "model/tensor_layout.h"

namespace lockstep::model {
namespace {

using kernels::DType;

constexpr std::string_view kValues = ".weight";
constexpr std::string_view kPacked = ".weight_packed";
constexpr float kLargestF16 = 65504.0f;

bool is_matrix_of_bytes(const Tensor& tensor) {
  return (tensor.dtype == DType::e4m3 || tensor.dtype == DType::i8) &&
         tensor.name.ends_with(kValues);
}

bool is_in_words(DType type) {
  return type == DType::u8 || type == DType::u4 || type == DType::u4_zeros;
}

bool is_cache_scale(const Tensor& tensor) {
  return tensor.name.ends_with(".self_attn.k_scale") || tensor.name.ends_with(".self_attn.v_scale");
}

std::string number_text(float number) {
  std::array<char, 32> text;
  const auto end = std::to_chars(text.begin(), text.end(), number).ptr;
  return {text.begin(), end};
}

std::string type_text(const Tensor& tensor) {
  return "type " + std::string(kernels::name(tensor.dtype));
}

void check_matrix(const Tensor& values, const std::optional<HfQuantization>& quantization,
                  const TensorParts& parts) {
  if (!quantization) {
    parts.fail_at(values.name, type_text(values) + ", but config.json has no quantization_config");
  }
  if (values.dtype != quantization->type) {
    parts.fail_at(values.name, type_text(values) + "; quantization_config says " +
                                   std::string(kernels::name(quantization->type)));
  }
  if (values.shape.size() != 2 || values.columns() % 32 != 0) {
    parts.fail_at(values.name, "shape " + shape_text(values.shape) +
                                   " is not that of a matrix whose columns are a multiple of 32");
  }
}

// How many numbers of `size` share a scale, where `block` is -1 for all.
std::int64_t block_of(std::int64_t block, std::int64_t size) { return block == -1 ? size : block; }

std::int64_t blocks_of(std::int64_t size, std::int64_t block) { return (size + block - 1) / block; }

// The scales may lack a last dimension of 1.
bool is_shape(const TensorShape& shape, const TensorShape& expected) {
  return shape == expected || (expected[1] == 1 && shape == TensorShape{expected[0]});
}

// What is packed in f16 (kernels/byte_layout.h) must be finite there, and so must a scale times the
// largest zero point.
float most_scale(DType values) {
  switch (values) {
    case DType::e4m3: return 1e30f;
    case DType::u4: return kLargestF16 / 8;
    case DType::u4_zeros: return kLargestF16 / 15;
    default: return kLargestF16;
  }
}

// Far from any real scale, so that no product with a number becomes subnormal or infinite.
void check_scales(const Tensor& scales, DType values, const TensorParts& parts) {
  constexpr float kLeast = 1e-30f;
  const float most = most_scale(values);
  const std::int64_t count = scales.rows() * scales.columns();
  for (std::int64_t i = 0; i < count; ++i) {
    const float scale = kernels::plain_value(scales.dtype, scales.data.data(), i);
    if (scale >= kLeast && scale <= most) continue;
    parts.fail_at(scales.name, "number " + std::to_string(i) + " is " + number_text(scale) +
                                   "; a scale of " + std::string(kernels::name(values)) +
                                   " is at least " + number_text(kLeast) + " and at most " +
                                   number_text(most));
  }
}

Tensor take_scales(const std::string& module, const Tensor& values, const TensorShape& expected,
                   TensorParts& parts) {
  const std::string name = module + ".weight_scale";
  auto scales = parts.take(name);
  if (!scales) scales = parts.take(name + "_inv");
  if (!scales) parts.fail_at(name, "is missing");
  if (!kernels::is_plain(scales->dtype)) {
    parts.fail_at(scales->name, type_text(*scales) + " is not f32, f16 or bf16");
  }
  if (!is_shape(scales->shape, expected)) {
    parts.fail_at(scales->name, "shape " + shape_text(scales->shape) + "; the matrix " +
                                    shape_text(values.shape) + " and quantization_config ask for " +
                                    shape_text(expected));
  }
  check_scales(*scales, values.dtype, parts);
  return *std::move(scales);
}

// Throws Error unless what a file says of the matrix's shape, if it does, is `shape`.
void check_shape(const std::string& name, const TensorShape& shape, TensorParts& parts) {
  const auto said = parts.take(name);
  if (!said) return;
  if ((said->dtype != DType::i64 && said->dtype != DType::i32) || said->shape != TensorShape{2}) {
    parts.fail_at(name, type_text(*said) + ", shape " + shape_text(said->shape) +
                            "; a matrix's shape is two numbers of i64 or i32");
  }
  const std::byte* first = said->data.data();
  const bool is_long = said->dtype == DType::i64;
  const TensorShape numbers{
      is_long ? kernels::load<std::int64_t>(first) : kernels::load<std::int32_t>(first),
      is_long ? kernels::load<std::int64_t>(first + 8) : kernels::load<std::int32_t>(first + 4)};
  if (numbers == shape) return;
  parts.fail_at(name, "says " + shape_text(numbers) + "; the words are those of a matrix " +
                          shape_text(shape));
}

// The matrix whose numbers lie in words, those of a row side by side.
Tensor unpack(const std::string& name, const std::optional<HfQuantization>& quantization,
              TensorParts& parts) {
  if (!quantization) {
    parts.fail_at(name, "is packed, but config.json has no quantization_config");
  }
  if (!is_in_words(quantization->type)) {
    parts.fail_at(name, "is packed, which quantization_config does not say");
  }
  const Tensor words = parts.take(name, DType::i32);
  if (words.shape.size() != 2) {
    parts.fail_at(name, "shape " + shape_text(words.shape) + " is not that of a matrix");
  }
  const std::int64_t in_word = quantization->type == DType::u8 ? 4 : 8;
  const TensorShape shape{words.shape[0], in_word * words.shape[1]};
  if (shape[1] % 32 != 0) {
    parts.fail_at(name, "stands for a matrix " + shape_text(shape) +
                            "; its columns must be a multiple of 32");
  }
  const std::string module = name.substr(0, name.size() - kPacked.size());
  check_shape(module + ".weight_shape", shape, parts);
  parts.take_order(module + ".weight_g_idx", quantization->desc_act, shape[1],
                   block_of(quantization->scale_columns, shape[1]),
                   "weight_packed and quantization_config");
  return {.name = module + std::string(kValues),
          .dtype = quantization->type,
          .shape = shape,
          .data = words.data};
}

Tensor join(Tensor joined, const std::optional<HfQuantization>& quantization, TensorParts& parts) {
  check_matrix(joined, quantization, parts);
  joined.scale_rows = block_of(quantization->scale_rows, joined.shape[0]);
  joined.scale_columns = block_of(quantization->scale_columns, joined.shape[1]);
  const std::string module = joined.name.substr(0, joined.name.size() - kValues.size());
  const TensorShape expected{blocks_of(joined.shape[0], joined.scale_rows),
                             blocks_of(joined.shape[1], joined.scale_columns)};
  const Tensor scales = take_scales(module, joined, expected, parts);
  joined.scales = scales.data;
  joined.scale_type = scales.dtype;
  const std::string zero_point = module + ".weight_zero_point";
  if (joined.dtype == DType::u4_zeros) {
    const TensorShape words{blocks_of(joined.shape[0], 8), expected[1]};
    joined.zeros =
        parts.take(zero_point, DType::i32, words, "weight_packed and quantization_config").data;
  } else if (const auto zeros = parts.take(zero_point); zeros && !is_zero(*zeros)) {
    parts.fail_at(zero_point, "is not zero: zero points are not supported");
  }
  for (const char* part : {".input_scale", ".input_zero_point", ".activation_scale"}) {
    parts.take(module + part);
  }
  return joined;
}

}  // namespace

std::vector<Tensor> join_bytes(TensorParts& parts,
                               const std::optional<HfQuantization>& quantization) {
  std::vector<Tensor> joined;
  for (const std::string& name : parts.names(is_matrix_of_bytes)) {
    joined.push_back(join(*parts.take(name), quantization, parts));
  }
  const auto is_packed = [](const Tensor& tensor) { return tensor.name.ends_with(kPacked); };
  for (const std::string& name : parts.names(is_packed)) {
    joined.push_back(join(unpack(name, quantization, parts), quantization, parts));
  }
  if (joined.empty()) return joined;
  for (const std::string& name : parts.names(is_cache_scale)) parts.take(name);
  return joined;
}

}  // namespace lockstep::model

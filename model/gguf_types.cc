#include "model/gguf_types.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>

#include "model/fail.h"

namespace lockstep::model {
namespace {

using kernels::DType;

struct GgufTensorType {
  std::uint32_t number;
  std::string_view name;
  std::optional<DType> dtype;  // nothing: not supported
};

constexpr std::array kTypes{
    GgufTensorType{0, "f32", DType::f32},     GgufTensorType{1, "f16", DType::f16},
    GgufTensorType{2, "q4_0", DType::q4_0},   GgufTensorType{3, "q4_1", DType::q4_1},
    GgufTensorType{6, "q5_0", DType::q5_0},   GgufTensorType{7, "q5_1", DType::q5_1},
    GgufTensorType{8, "q8_0", DType::q8_0},   GgufTensorType{10, "q2_k", std::nullopt},
    GgufTensorType{11, "q3_k", std::nullopt}, GgufTensorType{12, "q4_k", DType::q4_k},
    GgufTensorType{13, "q5_k", DType::q5_k},  GgufTensorType{14, "q6_k", DType::q6_k},
    GgufTensorType{30, "bf16", DType::bf16},
};

std::string supported() {
  std::string text;
  for (const GgufTensorType& type : kTypes) {
    if (type.dtype) text.append(text.empty() ? "" : ", ").append(type.name);
  }
  return text;
}

}  // namespace

DType gguf_dtype(std::uint32_t number, const std::string& file, const std::string& field) {
  const auto type = std::ranges::find(kTypes, number, &GgufTensorType::number);
  if (type != kTypes.end() && type->dtype) return *type->dtype;
  const std::string known = type == kTypes.end() ? "" : " (" + std::string(type->name) + ")";
  fail(file, field + ": GGUF tensor type " + std::to_string(number) + known +
                 " is not supported; supported are " + supported());
}

}  // namespace lockstep::model

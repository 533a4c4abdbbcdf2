#include "launch/model_shape.h"

#include <array>
#include <string_view>
#include <utility>

#include "base/error.h"
#include "kernels/dtype.h"
#include "shard/memory_plan.h"

namespace lockstep::launch {
namespace {

using shard::MatrixFormat;

shard::ModelShape stored_shape(const model::ModelConfig& config,
                               const model::TensorSource& tensors) {
  return {.config = config, .format = [&tensors](const std::string& tensor) {
            const model::Tensor* found = tensors.find(tensor);
            if (found == nullptr)
              throw Error(tensors.path() + ": tensor '" + tensor + "' is missing");
            return shard::matrix_format(*found);
          }};
}

// What an outline calls the types of matrices.
constexpr std::array<std::pair<std::string_view, MatrixFormat>, 13> kStoredAs{
    {{"bfloat16", MatrixFormat::bf16},
     {"float16", MatrixFormat::f16},
     {"float32", MatrixFormat::f32},
     {"fp8", MatrixFormat::fp8},
     {"fp8_block", MatrixFormat::fp8_block},
     {"int8", MatrixFormat::int8},
     {"packed_int4", MatrixFormat::q4_0},
     {"packed_int4_zeros", MatrixFormat::q4},
     {"packed_int8", MatrixFormat::q8},
     {"gptq", MatrixFormat::q4},
     {"gptq_8", MatrixFormat::q4_0},
     {"awq", MatrixFormat::q4},
     {"", MatrixFormat::bf16}}};

MatrixFormat format_stored_as(const std::string& stored_as) {
  for (const auto& [text, format] : kStoredAs) {
    if (text == stored_as) return format;
  }
  throw Error("config.json: weights are '" + stored_as +
              "', which a plan does not know: say what to plan for with --weights");
}

}  // namespace

std::string name(MatrixFormat format) {
  switch (format) {
    case MatrixFormat::f32: return "f32";
    case MatrixFormat::f16: return "f16";
    case MatrixFormat::bf16: return "bf16";
    case MatrixFormat::q8: return "q8";
    case MatrixFormat::q4: return "q4";
    case MatrixFormat::q4_0: return "q4_0";
    case MatrixFormat::fp8: return "fp8";
    case MatrixFormat::fp8_block: return "fp8_block";
    case MatrixFormat::int8: break;
  }
  return "int8";
}

shard::ModelShape shape_of(const model::Model& model) {
  return stored_shape(model.config, *model.tensors);
}

PlannedShape shape_of(const model::Outline& outline, std::optional<MatrixFormat> format) {
  const shard::ModelShape bare{.config = outline.config, .format = {}};
  if (format) return {shard::in_format(bare, *format), name(*format) + " (as asked)"};
  if (outline.tensors) {
    const auto* layer = outline.tensors->find("model.layers.0.mlp.up_proj.weight");
    return {stored_shape(outline.config, *outline.tensors),
            (layer == nullptr ? std::string("mixed") : std::string(kernels::name(layer->dtype))) +
                " (as stored)"};
  }
  const MatrixFormat stored = format_stored_as(outline.stored_as);
  return {shard::in_format(bare, stored),
          name(stored) + (outline.stored_as.empty() ? " (assumed)" : " (config.json)")};
}

}  // namespace lockstep::launch

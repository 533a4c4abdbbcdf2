#include "model/outline.h"

#include <algorithm>
#include <array>
#include <filesystem>
#include <string_view>
#include <utility>

#include "model/fail.h"
#include "model/family_tensors.h"
#include "model/gguf_model.h"
#include "model/hf_config.h"
#include "model/hf_weights.h"
#include "model/json_file.h"
#include "model/limits.h"
#include "model/mapped_file.h"

namespace lockstep::model {
namespace {

// Whether a group of compressed-tensors has a scale for each block of weights, or group of columns.
bool has_strategy(const JsonFields& group, std::string_view strategy) {
  const auto weights = group.object("weights");
  return weights && weights->string("strategy") == strategy;
}
bool has_floats(const JsonFields& group) {
  const auto weights = group.object("weights");
  return weights && weights->string("type") == "float";
}
bool has_blocks(const JsonFields& group) { return has_strategy(group, "block"); }
bool has_column_groups(const JsonFields& group) { return has_strategy(group, "group"); }

// Whether a group of compressed-tensors has weights of so many bits, with zero points or without.
template <std::int64_t kBits, bool kZeros>
bool has_bits(const JsonFields& group) {
  const auto weights = group.object("weights");
  return weights && weights->integer("num_bits", 1, 64) == kBits &&
         weights->boolean("symmetric").value_or(true) != kZeros;
}

// Whether `is_so` of any group of compressed-tensors.
bool any_group(const JsonFields& quantization, bool (*is_so)(const JsonFields& group)) {
  const auto groups = quantization.object("config_groups");
  if (!groups) return false;
  for (const auto& [name, group] : groups->value().items()) {
    if (is_so(groups->require(name, groups->object(name)))) return true;
  }
  return false;
}

// "gptq_8" where GPTQ's zero points are said to be all 8; of other than four bits, with their
// number.
std::string quantized_in_words_as(const JsonFields& quantization, const std::string& method) {
  const auto bits = quantization.integer("bits", 1, 64).value_or(4);
  if (bits != 4) return method + " of " + std::to_string(bits) + " bits";
  const nlohmann::json& fields = quantization.value();
  const auto symmetric = fields.find("sym");
  return method == "gptq" && symmetric != fields.end() && *symmetric == true ? "gptq_8" : method;
}

// "fp8", "fp8_block", "int8", "packed_int4", "packed_int4_zeros", "packed_int8" and "gptq_8" (of
// zero points that are all 8) where that is what the quantizer's many words come to, else its name.
std::string quantized_as(const JsonFields& quantization) {
  const std::string method =
      quantization.require("quant_method", quantization.string("quant_method"));
  if (method == "fp8") return quantization.has("weight_block_size") ? "fp8_block" : "fp8";
  if (method == "fbgemm_fp8") return "fp8";
  if (method == "gptq" || method == "awq") return quantized_in_words_as(quantization, method);
  if (method != "compressed-tensors") return method;
  const std::string format = quantization.string("format").value_or("");
  if (format == "int-quantized") return "int8";
  if (format == "pack-quantized") {
    if (any_group(quantization, has_bits<4, true>)) return "packed_int4_zeros";
    if (any_group(quantization, has_bits<4, false>)) return "packed_int4";
    if (!any_group(quantization, has_bits<8, false>)) return method;
    return any_group(quantization, has_column_groups) ? "packed_int8" : "int8";
  }
  if (format == "naive-quantized" && !any_group(quantization, has_floats)) return "int8";
  if (format != "float-quantized" && format != "naive-quantized") return method;
  return any_group(quantization, has_blocks) ? "fp8_block" : "fp8";
}

std::string stored_as(const JsonFields& fields) {
  if (const auto quantization = fields.object("quantization_config")) {
    return quantized_as(*quantization);
  }
  // transformers 5 calls it "dtype".
  if (const auto type = fields.string("torch_dtype")) return *type;
  return fields.string("dtype").value_or("");
}

Outline read_config_json(const std::string& file) {
  const nlohmann::json parsed = read_json(file, kMaxConfigBytes);
  const JsonFields fields(parsed, file);
  return {.architecture = hf_architecture(fields),
          .config = read_hf_hyper_parameters(fields),
          .tensors = nullptr,
          .stored_as = stored_as(fields)};
}

bool has_weights(const std::string& folder) {
  return path_exists(folder + "/model.safetensors") ||
         path_exists(folder + "/model.safetensors.index.json");
}

Outline read_folder(const std::string& folder) {
  Outline outline = read_config_json(folder + "/config.json");
  if (!has_weights(folder)) return outline;
  const HfConfig read = read_hf_config(folder);
  auto tensors = read_hf_weights(folder, read.quantization);
  check_tensors(read.config, *tensors);
  outline.tensors = std::move(tensors);
  return outline;
}

Outline read_gguf_outline(const std::string& path) {
  Model model = open_gguf_model(path);
  return {.architecture = model.config.family,
          .config = std::move(model.config),
          .tensors = std::move(model.tensors),
          .stored_as = ""};
}

}  // namespace

Outline read_outline(const std::string& path) {
  if (!path_exists(path)) fail(path, "no such file or folder");
  if (std::filesystem::is_directory(path)) return read_folder(path);
  return path.ends_with(".json") ? read_config_json(path) : read_gguf_outline(path);
}

}  // namespace lockstep::model

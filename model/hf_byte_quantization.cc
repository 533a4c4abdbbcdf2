#include "model/hf_byte_quantization.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>

#include "model/fail.h"
#include "model/limits.h"

namespace lockstep::model {
namespace {

using kernels::DType;

// The text of a field, one of `known`.
std::string read_choice(const JsonFields& fields, std::string_view key,
                        std::span<const std::string_view> known) {
  const std::string text = fields.require(key, fields.string(key));
  if (std::ranges::find(known, text) != known.end()) return text;
  std::string all;
  for (const std::string_view each : known) all.append(all.empty() ? "" : ", ").append(each);
  fields.fail_at(key, in_quotes(text) + " is not supported; supported are " + all);
}

void require_flag(const JsonFields& fields, std::string_view key, bool value) {
  if (fields.boolean(key).value_or(value) == value) return;
  fields.fail_at(key, std::string(value ? "false" : "true") + " is not supported");
}

void require_eight_bits(const JsonFields& fields) {
  constexpr std::string_view kKey = "num_bits";
  const auto bits = fields.require(kKey, fields.integer(kKey, 1, 64));
  if (bits != 8) fields.fail_at(kKey, std::to_string(bits) + " is not supported; supported is 8");
}

// A pair of multiples of 32, rows and columns, into scale_rows and scale_columns.
void read_block(const JsonFields& fields, std::string_view key, HfQuantization& quantization) {
  const nlohmann::json* pair = fields.array(key);
  const auto is_size = [](const nlohmann::json& size) {
    return size.is_number_unsigned() && size.get<std::uint64_t>() % 32 == 0 &&
           size.get<std::uint64_t>() >= 32 &&
           size.get<std::uint64_t>() <= std::uint64_t{kMaxIntermediateSize};
  };
  if (pair == nullptr) fields.fail_at(key, "is missing");
  if (pair->size() != 2 || !std::ranges::all_of(*pair, is_size)) {
    fields.fail_at(key, "is not a pair of multiples of 32, rows and columns, of at most " +
                            std::to_string(kMaxIntermediateSize));
  }
  quantization.scale_rows = pair->at(0).get<std::int64_t>();
  quantization.scale_columns = pair->at(1).get<std::int64_t>();
}

// Whether an object is absent or empty.
bool is_empty(const JsonFields& fields, std::string_view key) {
  const auto object = fields.object(key);
  return !object || object->value().empty();
}

void check_activations(const JsonFields& group) {
  if (const auto activations = group.object("input_activations")) {
    require_eight_bits(*activations);
    read_choice(*activations, "type", std::array<std::string_view, 2>{"float", "int"});
    read_choice(*activations, "strategy",
                std::array<std::string_view, 3>{"tensor", "token", "group"});
  }
  if (!is_empty(group, "output_activations")) {
    group.fail_at("output_activations", "are not supported");
  }
}

HfQuantization read_weights(const JsonFields& weights, DType type) {
  const bool is_float = type == DType::e4m3;
  require_eight_bits(weights);
  read_choice(weights, "type", std::array<std::string_view, 1>{is_float ? "float" : "int"});
  require_flag(weights, "symmetric", true);
  require_flag(weights, "dynamic", false);
  constexpr std::array<std::string_view, 3> kStrategies{"tensor", "channel", "block"};
  const std::string strategy =
      read_choice(weights, "strategy", std::span(kStrategies).first(is_float ? 3 : 2));
  HfQuantization quantization{.type = type};
  if (strategy == "channel") quantization.scale_rows = 1;
  if (strategy == "block") read_block(weights, "block_structure", quantization);
  return quantization;
}

}  // namespace

HfQuantization read_fp8(const JsonFields& fields) {
  if (fields.has("fmt")) read_choice(fields, "fmt", std::array<std::string_view, 1>{"e4m3"});
  if (fields.has("activation_scheme")) {
    read_choice(fields, "activation_scheme", std::array<std::string_view, 2>{"dynamic", "static"});
  }
  HfQuantization quantization{.type = DType::e4m3};
  if (fields.has("weight_block_size")) read_block(fields, "weight_block_size", quantization);
  return quantization;
}

HfQuantization read_fbgemm_fp8(const JsonFields&) { return {.type = DType::e4m3, .scale_rows = 1}; }

HfQuantization read_compressed_tensors(const JsonFields& fields) {
  const std::string format = read_choice(
      fields, "format", std::array<std::string_view, 2>{"float-quantized", "int-quantized"});
  if (fields.has("quantization_status")) {
    read_choice(fields, "quantization_status", std::array<std::string_view, 1>{"compressed"});
  }
  for (const char* key : {"sparsity_config", "transform_config"}) {
    if (!is_empty(fields, key)) fields.fail_at(key, "is not supported");
  }
  const JsonFields groups = fields.require("config_groups", fields.object("config_groups"));
  std::optional<HfQuantization> quantization;
  for (const auto& [name, value] : groups.value().items()) {
    const JsonFields group = groups.require(name, groups.object(name));
    check_activations(group);
    const auto weights = read_weights(group.require("weights", group.object("weights")),
                                      format == "float-quantized" ? DType::e4m3 : DType::i8);
    if (quantization && *quantization != weights) {
      fields.fail_at("config_groups", "layouts that differ between groups are not supported");
    }
    quantization = weights;
  }
  return fields.require("config_groups", quantization);
}

}  // namespace lockstep::model

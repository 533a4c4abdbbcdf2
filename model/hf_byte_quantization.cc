#include "model/hf_byte_quantization.h"

#include <algorithm>
#include <array>
#include <span>
#include <string>
#include <vector>

#include "model/fail.h"
#include "model/hf_quantization_fields.h"
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

std::int64_t read_bits(const JsonFields& fields) {
  constexpr std::string_view kKey = "num_bits";
  return fields.require(kKey, fields.integer(kKey, 1, 64));
}

[[noreturn]] void refuse_bits(const JsonFields& fields, std::int64_t bits, const char* supported) {
  fields.fail_at("num_bits", std::to_string(bits) + " is not supported; supported " + supported);
}

void require_eight_bits(const JsonFields& fields) {
  if (const auto bits = read_bits(fields); bits != 8) refuse_bits(fields, bits, "is 8");
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

// Weights with many zeros are as any others where all are stored.
void check_sparsity(const JsonFields& fields) {
  if (is_empty(fields, "sparsity_config")) return;
  read_choice(*fields.object("sparsity_config"), "format",
              std::array<std::string_view, 1>{"dense"});
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

// What a format of compressed-tensors stores of weights of a type, and for what of it there may be
// a scale.
struct Packing {
  std::string_view format;
  std::string_view type;  // of weights
  DType eight_bits;
  std::optional<DType> four_bits;
  std::array<std::string_view, 3> strategies;
};
constexpr std::array kPackings{
    Packing{"float-quantized", "float", DType::e4m3, {}, {"tensor", "channel", "block"}},
    Packing{"int-quantized", "int", DType::i8, {}, {"tensor", "channel"}},
    Packing{"naive-quantized", "float", DType::e4m3, {}, {"tensor", "channel", "block"}},
    Packing{"naive-quantized", "int", DType::i8, {}, {"tensor", "channel"}},
    Packing{"pack-quantized", "int", DType::u8, DType::u4, {"tensor", "channel", "group"}}};

std::string read_format(const JsonFields& fields) {
  std::vector<std::string_view> known;
  for (const Packing& packing : kPackings) {
    if (std::ranges::find(known, packing.format) == known.end()) known.push_back(packing.format);
  }
  return read_choice(fields, "format", known);
}

const Packing& read_packing(const JsonFields& weights, std::string_view format) {
  std::vector<std::string_view> types;
  for (const Packing& packing : kPackings) {
    if (packing.format == format) types.push_back(packing.type);
  }
  const std::string type = read_choice(weights, "type", types);
  return *std::ranges::find_if(kPackings, [&](const Packing& packing) {
    return packing.format == format && packing.type == type;
  });
}

DType read_type(const JsonFields& weights, const Packing& packing) {
  const auto bits = read_bits(weights);
  if (bits != 8 && !(bits == 4 && packing.four_bits)) {
    refuse_bits(weights, bits, packing.four_bits ? "are 4, 8" : "is 8");
  }
  const bool has_zeros = !weights.boolean("symmetric").value_or(true);
  if (bits == 4) return has_zeros ? DType::u4_zeros : *packing.four_bits;
  if (has_zeros) {
    weights.fail_at("symmetric", packing.four_bits ? "false is not supported with num_bits 8"
                                                   : "false is not supported");
  }
  return packing.eight_bits;
}

// Whether columns were quantized in another order than they lie in, and g_idx says in which.
bool read_activation_order(const JsonFields& weights) {
  constexpr std::string_view kKey = "actorder";
  if (!weights.has(kKey)) return false;
  const std::string order = read_choice(
      weights, kKey, std::array<std::string_view, 4>{"group", "dynamic", "weight", "static"});
  return order == "group" || order == "dynamic";
}

HfQuantization read_weights(const JsonFields& weights, std::string_view format) {
  const Packing& packing = read_packing(weights, format);
  HfQuantization quantization{.type = read_type(weights, packing)};
  require_flag(weights, "dynamic", false);
  quantization.desc_act = read_activation_order(weights);
  if (quantization.desc_act && !packing.four_bits) {
    weights.fail_at("actorder", "is not supported with format " + std::string(packing.format));
  }
  const std::span strategies(packing.strategies);
  const std::string strategy =
      read_choice(weights, "strategy", strategies.first(packing.strategies.back().empty() ? 2 : 3));
  if (strategy == "tensor" && quantization.type == DType::u4_zeros) {
    weights.fail_at("strategy", "'tensor' is not supported where symmetric is false");
  }
  if (strategy != "tensor") quantization.scale_rows = 1;
  if (strategy == "block") read_block(weights, "block_structure", quantization);
  if (strategy == "group")
    quantization.scale_columns = read_group_size(weights, /*may_be_all=*/false);
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
  const std::string format = read_format(fields);
  if (fields.has("quantization_status")) {
    // "frozen" is what writers of 2024 said of compressed weights; types and shapes are checked.
    read_choice(fields, "quantization_status",
                std::array<std::string_view, 2>{"compressed", "frozen"});
  }
  check_sparsity(fields);
  if (!is_empty(fields, "transform_config")) {
    fields.fail_at("transform_config", "is not supported");
  }
  const JsonFields groups = fields.require("config_groups", fields.object("config_groups"));
  std::optional<HfQuantization> quantization;
  for (const auto& [name, value] : groups.value().items()) {
    const JsonFields group = groups.require(name, groups.object(name));
    check_activations(group);
    const auto weights = read_weights(group.require("weights", group.object("weights")), format);
    if (quantization && *quantization != weights) {
      fields.fail_at("config_groups", "layouts that differ between groups are not supported");
    }
    quantization = weights;
  }
  return fields.require("config_groups", quantization);
}

}  // namespace lockstep::model

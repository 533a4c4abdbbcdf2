#include "model/hf_config.h"

#include <algorithm>
#include <limits>

#include "model/fail.h"
#include "model/family.h"
#include "model/json_file.h"
#include "model/limits.h"
#include "model/mapped_file.h"

namespace lockstep::model {
namespace {

using nlohmann::json;

constexpr double kMaxNumber = std::numeric_limits<float>::max();

std::int64_t require_size(const JsonFields& fields, std::string_view key, std::int64_t limit) {
  return fields.require(key, fields.integer(key, 1, limit));
}

float require_float(const JsonFields& fields, std::string_view key) {
  return static_cast<float>(fields.require(key, fields.number(key, 0, kMaxNumber)));
}

std::int64_t head_dim(const JsonFields& fields, const ModelConfig& config) {
  if (const auto size = fields.integer("head_dim", 1, kMaxHeadDim)) return *size;
  if (config.hidden_size % config.num_attention_heads != 0) {
    fields.fail_at("num_attention_heads", std::to_string(config.num_attention_heads) +
                                              " does not divide hidden_size, " +
                                              std::to_string(config.hidden_size));
  }
  return config.hidden_size / config.num_attention_heads;
}

// `fields` is rope_scaling or rope_parameters; older files say "type" for "rope_type".
void read_rope_scaling(const JsonFields& fields, ModelConfig& config) {
  const char* key = fields.has("rope_type") ? "rope_type" : "type";
  const std::string type = fields.string(key).value_or("default");
  if (type == "default") return;
  if (type != "llama3") {
    fields.fail_at(key, in_quotes(type) + " is not supported; supported are default, llama3");
  }
  config.rope_scaling =
      Llama3RopeScaling{require_float(fields, "factor"), require_float(fields, "low_freq_factor"),
                        require_float(fields, "high_freq_factor"),
                        require_size(fields, "original_max_position_embeddings", kMaxPositions)};
}

void read_rope(const JsonFields& fields, ModelConfig& config) {
  if (const auto theta = fields.number("rope_theta", 0, kMaxNumber)) config.rope_theta = *theta;
  if (const auto scaling = fields.object("rope_scaling")) read_rope_scaling(*scaling, config);
  // transformers 5 moved both into one object.
  if (const auto rope = fields.object("rope_parameters")) {
    if (const auto theta = rope->number("rope_theta", 0, kMaxNumber)) config.rope_theta = *theta;
    read_rope_scaling(*rope, config);
  }
}

// Variants of the architecture that this project does not compute.
void refuse_variants(const JsonFields& fields, const Family& family) {
  for (const std::string_view key : {"attention_bias", "mlp_bias"}) {
    if (key == "attention_bias" && family.attention_bias) continue;
    if (fields.boolean(key).value_or(false)) {
      fields.fail_at(key, "true is not supported for " + std::string(family.name));
    }
  }
  const std::string activation = fields.string("hidden_act").value_or("silu");
  if (activation != "silu") {
    fields.fail_at("hidden_act", in_quotes(activation) + " is not supported; supported is silu");
  }
  if (fields.number("partial_rotary_factor", 0, 1).value_or(1) != 1) {
    fields.fail_at("partial_rotary_factor", "only 1 is supported");
  }
}

// eos_token_id is one id or a list of them.
void add_eos_token_ids(const JsonFields& fields, std::vector<std::int32_t>& ids) {
  constexpr std::string_view kKey = "eos_token_id";
  const json* value = fields.find(kKey);
  if (value == nullptr) return;
  const json list = value->is_array() ? *value : json::array({*value});
  for (const json& element : list) {
    if (!element.is_number_unsigned() || element.get<std::uint64_t>() >= kMaxVocabSize) {
      fields.fail_at(kKey, "is not a token id or a list of them");
    }
    const auto id = element.get<std::int32_t>();
    if (std::ranges::find(ids, id) == ids.end()) ids.push_back(id);
  }
}

ModelConfig read_sizes(const JsonFields& fields) {
  ModelConfig config;
  config.hidden_size = require_size(fields, "hidden_size", kMaxHiddenSize);
  config.intermediate_size = require_size(fields, "intermediate_size", kMaxIntermediateSize);
  config.num_hidden_layers = require_size(fields, "num_hidden_layers", kMaxLayers);
  config.num_attention_heads = require_size(fields, "num_attention_heads", kMaxHeads);
  config.num_key_value_heads =
      fields.integer("num_key_value_heads", 1, kMaxHeads).value_or(config.num_attention_heads);
  config.head_dim = head_dim(fields, config);
  config.vocab_size = require_size(fields, "vocab_size", kMaxVocabSize);
  config.max_position_embeddings = require_size(fields, "max_position_embeddings", kMaxPositions);
  config.rms_norm_eps = require_float(fields, "rms_norm_eps");
  read_rope(fields, config);
  config.tie_word_embeddings = fields.boolean("tie_word_embeddings").value_or(false);
  if (const auto id = fields.integer("bos_token_id", 0, kMaxVocabSize - 1)) {
    config.bos_token_id = static_cast<std::int32_t>(*id);
  }
  add_eos_token_ids(fields, config.eos_token_ids);
  return config;
}

// Up to a window's length all positions see all before them: a longer context is not offered.
void keep_within_window(const JsonFields& fields, const Family& family, ModelConfig& config) {
  if (!fields.boolean("use_sliding_window").value_or(family.windowed)) return;
  if (const auto window = fields.integer("sliding_window", 1, kMaxPositions)) {
    config.max_position_embeddings = std::min(config.max_position_embeddings, *window);
  }
}

}  // namespace

std::string hf_architecture(const JsonFields& fields) {
  const json* names = fields.array("architectures");
  if (names == nullptr || names->size() != 1 || !names->front().is_string()) {
    fields.fail_at("architectures", "is not a list of one name");
  }
  return names->front().get<std::string>();
}

ModelConfig read_hf_hyper_parameters(const JsonFields& fields) {
  const Family& family = family_of_hf(hf_architecture(fields), fields.file());
  refuse_variants(fields, family);
  ModelConfig config = read_sizes(fields);
  config.family = family.name;
  config.attention_bias = family.attention_bias;
  config.head_norms = family.head_norms;
  keep_within_window(fields, family, config);
  check_config(config, fields.file());
  return config;
}

HfConfig read_hf_config(const std::string& folder) {
  const std::string file = folder + "/config.json";
  const json parsed = read_json(file, kMaxConfigBytes);
  const JsonFields fields(parsed, file);
  ModelConfig config = read_hf_hyper_parameters(fields);
  const std::string generation = folder + "/generation_config.json";
  if (path_exists(generation)) {
    const json generation_json = read_json(generation, kMaxConfigBytes);
    add_eos_token_ids(JsonFields(generation_json, generation), config.eos_token_ids);
    check_config(config, generation);  // of which only the tokens are new
  }
  return {std::move(config), read_hf_quantization(fields)};
}

}  // namespace lockstep::model

#include "model/family.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <vector>

#include "model/fail.h"
#include "model/limits.h"

namespace lockstep::model {
namespace {

// Mistral's is Llama's; GGUF files call it so.
constexpr std::array kLlamaNames{std::string_view("LlamaForCausalLM"),
                                 std::string_view("MistralForCausalLM")};
constexpr std::array kQwen2Names{std::string_view("Qwen2ForCausalLM")};
constexpr std::array kQwen3Names{std::string_view("Qwen3ForCausalLM")};

constexpr std::array kFamilies{Family{.name = "llama",
                                      .gguf_architecture = "llama",
                                      .hf_architectures = kLlamaNames,
                                      .attention_bias = false,
                                      .head_norms = false,
                                      .windowed = true,
                                      .interleaved_in_gguf = true},
                               Family{.name = "qwen2",
                                      .gguf_architecture = "qwen2",
                                      .hf_architectures = kQwen2Names,
                                      .attention_bias = true,
                                      .head_norms = false,
                                      .windowed = false,
                                      .interleaved_in_gguf = false},
                               Family{.name = "qwen3",
                                      .gguf_architecture = "qwen3",
                                      .hf_architectures = kQwen3Names,
                                      .attention_bias = false,
                                      .head_norms = true,
                                      .windowed = false,
                                      .interleaved_in_gguf = false}};

std::string join(std::span<const std::string> names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

void check_range(const std::string& file, std::string_view field, std::int64_t value,
                 std::int64_t limit) {
  if (value < 1 || value > limit) {
    fail(file, std::string(field) + ": " + std::to_string(value) + " is not between 1 and " +
                   std::to_string(limit));
  }
}

void check_token(const std::string& file, std::string_view field, std::int32_t id,
                 std::int64_t vocab_size) {
  if (id < 0 || id >= vocab_size) {
    fail(file, std::string(field) + ": token " + std::to_string(id) +
                   " is outside the vocabulary of " + std::to_string(vocab_size));
  }
}

// REQUIRES: the sizes are within their ranges.
void check_rope(const ModelConfig& config, const std::string& file) {
  if (config.head_dim % 2 != 0) {
    fail(file, "head_dim: " + std::to_string(config.head_dim) + " is odd; RoPE turns pairs");
  }
  if (!std::isfinite(config.rope_theta) || config.rope_theta <= 0) {
    fail(file, "rope_theta: is not a positive number");
  }
  if (const auto& scaling = config.rope_scaling) {
    if (!(scaling->factor >= 1 && scaling->low_freq_factor > 0 &&
          scaling->high_freq_factor > scaling->low_freq_factor)) {
      fail(file,
           "rope_scaling: factor must be at least 1, and high_freq_factor above "
           "low_freq_factor above 0");
    }
    check_range(file, "rope_scaling.original_max_position_embeddings",
                scaling->original_max_position_embeddings, kMaxPositions);
  }
}

}  // namespace

std::span<const Family> families() { return kFamilies; }

const Family& family_of_gguf(std::string_view architecture, const std::string& file) {
  std::vector<std::string> known;
  for (const Family& family : families()) {
    if (family.gguf_architecture == architecture) return family;
    known.emplace_back(family.gguf_architecture);
  }
  fail(file, "metadata 'general.architecture': " + in_quotes(architecture) +
                 " is not supported; supported are " + join(known));
}

const Family& family_of_hf(std::string_view architecture, const std::string& file) {
  std::vector<std::string> known;
  for (const Family& family : families()) {
    if (std::ranges::find(family.hf_architectures, architecture) != family.hf_architectures.end()) {
      return family;
    }
    known.insert(known.end(), family.hf_architectures.begin(), family.hf_architectures.end());
  }
  fail(file, "architectures: " + in_quotes(architecture) + " is not supported; supported are " +
                 join(known));
}

void check_config(const ModelConfig& config, const std::string& file) {
  check_range(file, "hidden_size", config.hidden_size, kMaxHiddenSize);
  check_range(file, "intermediate_size", config.intermediate_size, kMaxIntermediateSize);
  check_range(file, "num_hidden_layers", config.num_hidden_layers, kMaxLayers);
  check_range(file, "num_attention_heads", config.num_attention_heads, kMaxHeads);
  check_range(file, "num_key_value_heads", config.num_key_value_heads, kMaxHeads);
  check_range(file, "head_dim", config.head_dim, kMaxHeadDim);
  check_range(file, "vocab_size", config.vocab_size, kMaxVocabSize);
  check_range(file, "max_position_embeddings", config.max_position_embeddings, kMaxPositions);
  if (config.num_attention_heads % config.num_key_value_heads != 0) {
    fail(file, "num_attention_heads: " + std::to_string(config.num_attention_heads) +
                   " is not a multiple of num_key_value_heads, " +
                   std::to_string(config.num_key_value_heads));
  }
  if (!(config.rms_norm_eps > 0 && config.rms_norm_eps < 1)) {
    fail(file, "rms_norm_eps: is not between 0 and 1");
  }
  check_rope(config, file);
  if (config.bos_token_id) {
    check_token(file, "bos_token_id", *config.bos_token_id, config.vocab_size);
  }
  for (const std::int32_t id : config.eos_token_ids) {
    check_token(file, "eos_token_id", id, config.vocab_size);
  }
}

}  // namespace lockstep::model

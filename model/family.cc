#include "model/family.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <set>

#include "model/fail.h"
#include "model/family_llama.h"
#include "model/limits.h"

namespace lockstep::model {
namespace {

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

std::span<const Family> families() {
  static const std::array kFamilies{kLlamaFamily};
  return kFamilies;
}

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

void check_tensors(const Family& family, const ModelConfig& config, const TensorTable& tensors) {
  std::set<std::string, std::less<>> known;
  for (TensorNeed& need : family.tensors(config)) {
    const Tensor& tensor = tensors.require(need.name, need.shape);
    const bool quantized = !kernels::is_plain(tensor.dtype);
    if ((quantized && !need.may_be_quantized) || !kernels::is_of_weights(tensor.dtype)) {
      fail(tensors.path(), "tensor " + in_quotes(need.name) + ": type " +
                               std::string(kernels::name(tensor.dtype)) +
                               " is not supported here; supported are f32, f16, bf16");
    }
    known.insert(std::move(need.name));
  }
  for (const auto& [name, tensor] : tensors.tensors()) {
    if (!known.contains(name) && !family.redundant(name, config)) {
      fail(tensors.path(), "tensor " + in_quotes(name) + " is not one of a " +
                               std::string(family.name) + " model of this configuration");
    }
  }
}

}  // namespace lockstep::model

#include "model/family_tensors.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <set>
#include <span>
#include <utility>

#include "kernels/byte_layout.h"
#include "model/fail.h"
#include "model/tensor_parts.h"

namespace lockstep::model {
namespace {

using NamePair = std::pair<std::string_view, std::string_view>;

// GGUF and Hugging Face: whole names, and names below "blk.N." and "model.layers.N.".
constexpr std::array kModelNames{NamePair{"token_embd.weight", "model.embed_tokens.weight"},
                                 NamePair{"output_norm.weight", "model.norm.weight"},
                                 NamePair{"output.weight", "lm_head.weight"}};
constexpr std::array kLayerNames{NamePair{"attn_norm.weight", "input_layernorm.weight"},
                                 NamePair{"attn_q.weight", "self_attn.q_proj.weight"},
                                 NamePair{"attn_k.weight", "self_attn.k_proj.weight"},
                                 NamePair{"attn_v.weight", "self_attn.v_proj.weight"},
                                 NamePair{"attn_q.bias", "self_attn.q_proj.bias"},
                                 NamePair{"attn_k.bias", "self_attn.k_proj.bias"},
                                 NamePair{"attn_v.bias", "self_attn.v_proj.bias"},
                                 NamePair{"attn_q_norm.weight", "self_attn.q_norm.weight"},
                                 NamePair{"attn_k_norm.weight", "self_attn.k_norm.weight"},
                                 NamePair{"attn_output.weight", "self_attn.o_proj.weight"},
                                 NamePair{"ffn_norm.weight", "post_attention_layernorm.weight"},
                                 NamePair{"ffn_gate.weight", "mlp.gate_proj.weight"},
                                 NamePair{"ffn_up.weight", "mlp.up_proj.weight"},
                                 NamePair{"ffn_down.weight", "mlp.down_proj.weight"}};

std::optional<std::string_view> look_up(std::span<const NamePair> names, std::string_view gguf) {
  const auto found = std::ranges::find(names, gguf, &NamePair::first);
  if (found == names.end()) return std::nullopt;
  return found->second;
}

// Whether the model's answers do not depend on it, though needed_tensors() does not list it: old
// checkpoints store the rotary frequencies; tied ones sometimes a copy of the embedding; some
// quantizers write a bias of zeros for every matrix.
bool is_redundant(const Tensor& tensor, const ModelConfig& config) {
  const std::string_view name = tensor.name;
  return name.ends_with(".rotary_emb.inv_freq") ||
         (name == "lm_head.weight" && config.tie_word_embeddings) ||
         (name.ends_with("_proj.bias") && is_zero(tensor));
}

// One that is not finite makes all logits NaN, which ends a replica at its first request.
void check_finite(const Tensor& vector, const std::string& file) {
  for (std::int64_t i = 0; i < vector.shape.front(); ++i) {
    if (std::isfinite(kernels::plain_value(vector.dtype, vector.data.data(), i))) continue;
    fail(file, "tensor " + in_quotes(vector.name) + ": number " + std::to_string(i) +
                   " is infinite or a NaN; norms and biases must be finite");
  }
}

}  // namespace

std::optional<std::string> hf_tensor_name(std::string_view gguf_name) {
  constexpr std::string_view kBlock = "blk.";
  if (!gguf_name.starts_with(kBlock)) {
    const auto name = look_up(kModelNames, gguf_name);
    return name ? std::optional<std::string>(*name) : std::nullopt;
  }
  const std::string_view rest = gguf_name.substr(kBlock.size());
  const std::size_t dot = rest.find('.');
  if (dot == std::string_view::npos) return std::nullopt;
  const auto name = look_up(kLayerNames, rest.substr(dot + 1));
  if (!name) return std::nullopt;
  return std::string("model.layers.").append(rest.substr(0, dot)).append(".").append(*name);
}

bool is_rotated(std::string_view hf_name) {
  return hf_name.ends_with(".self_attn.q_proj.weight") ||
         hf_name.ends_with(".self_attn.k_proj.weight");
}

std::vector<TensorNeed> needed_tensors(const ModelConfig& config) {
  const std::int64_t hidden = config.hidden_size;
  const std::int64_t inner = config.intermediate_size;
  const std::int64_t queries = config.num_attention_heads * config.head_dim;
  const std::int64_t keys = config.num_key_value_heads * config.head_dim;
  std::vector<TensorNeed> needs;
  needs.push_back({"model.embed_tokens.weight", {config.vocab_size, hidden}, true});
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const std::string layer = "model.layers." + std::to_string(i) + ".";
    needs.push_back({layer + "input_layernorm.weight", {hidden}, false});
    needs.push_back({layer + "self_attn.q_proj.weight", {queries, hidden}, true});
    needs.push_back({layer + "self_attn.k_proj.weight", {keys, hidden}, true});
    needs.push_back({layer + "self_attn.v_proj.weight", {keys, hidden}, true});
    if (config.attention_bias) {
      needs.push_back({layer + "self_attn.q_proj.bias", {queries}, false});
      needs.push_back({layer + "self_attn.k_proj.bias", {keys}, false});
      needs.push_back({layer + "self_attn.v_proj.bias", {keys}, false});
    }
    if (config.head_norms) {
      needs.push_back({layer + "self_attn.q_norm.weight", {config.head_dim}, false});
      needs.push_back({layer + "self_attn.k_norm.weight", {config.head_dim}, false});
    }
    needs.push_back({layer + "self_attn.o_proj.weight", {hidden, queries}, true});
    needs.push_back({layer + "post_attention_layernorm.weight", {hidden}, false});
    needs.push_back({layer + "mlp.gate_proj.weight", {inner, hidden}, true});
    needs.push_back({layer + "mlp.up_proj.weight", {inner, hidden}, true});
    needs.push_back({layer + "mlp.down_proj.weight", {hidden, inner}, true});
  }
  needs.push_back({"model.norm.weight", {hidden}, false});
  if (!config.tie_word_embeddings) {
    needs.push_back({"lm_head.weight", {config.vocab_size, hidden}, true});
  }
  return needs;
}

void check_tensors(const ModelConfig& config, const TensorTable& tensors) {
  std::set<std::string, std::less<>> known;
  for (TensorNeed& need : needed_tensors(config)) {
    const Tensor& tensor = tensors.require(need.name, need.shape);
    const bool quantized = !kernels::is_plain(tensor.dtype);
    if ((quantized && !need.may_be_quantized) || !kernels::is_of_weights(tensor.dtype)) {
      fail(tensors.path(), "tensor " + in_quotes(need.name) + ": type " +
                               std::string(kernels::name(tensor.dtype)) +
                               " is not supported here; supported are f32, f16, bf16");
    }
    if (!need.may_be_quantized) check_finite(tensor, tensors.path());
    known.insert(std::move(need.name));
  }
  for (const auto& [name, tensor] : tensors.tensors()) {
    if (!known.contains(name) && !is_redundant(tensor, config)) {
      fail(tensors.path(), "tensor " + in_quotes(name) + " is not one of a " + config.family +
                               " model of this configuration");
    }
  }
}

}  // namespace lockstep::model

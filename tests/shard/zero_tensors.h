// A model for sizes alone.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/dtype.h"
#include "model/model.h"

namespace lockstep::shard {

// Zeros of many storage types, under Hugging Face names.
class ZeroTensors final : public model::TensorSource {
 public:
  // `plain`: all matrices in bf16.
  explicit ZeroTensors(const model::ModelConfig& config, bool plain = false) : plain_(plain) {
    const auto hidden = config.hidden_size, inner = config.intermediate_size;
    const auto q = config.num_attention_heads * config.head_dim;
    const auto kv = config.num_key_value_heads * config.head_dim;
    add("model.embed_tokens.weight", DType::q8_0, {config.vocab_size, hidden});
    if (!config.tie_word_embeddings) {
      add("lm_head.weight", DType::f16, {config.vocab_size, hidden});
    }
    add("model.norm.weight", DType::f32, {hidden});
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
      const std::string scope = "model.layers." + std::to_string(i) + ".";
      add(scope + "input_layernorm.weight", DType::f32, {hidden});
      add(scope + "post_attention_layernorm.weight", DType::bf16, {hidden});
      add(scope + "self_attn.q_proj.weight", DType::q4_0, {q, hidden});
      add(scope + "self_attn.k_proj.weight", DType::bf16, {kv, hidden});
      add(scope + "self_attn.v_proj.weight", DType::f32, {kv, hidden});
      add(scope + "self_attn.o_proj.weight", DType::q4_1, {hidden, q});
      add(scope + "mlp.gate_proj.weight", DType::q4_1, {inner, hidden});
      // Interleaved with gate in the first layer, beside it in the others.
      add(scope + "mlp.up_proj.weight", i == 0 ? DType::q4_1 : DType::q8_0, {inner, hidden});
      add(scope + "mlp.down_proj.weight", DType::q8_0, {hidden, inner});
    }
  }

  const model::Tensor* find(std::string_view name) const override {
    const auto at = tensors_.find(name);
    return at == tensors_.end() ? nullptr : &at->second;
  }
  const std::string& path() const override { return path_; }
  void release(const model::Tensor&) const override {}

 private:
  void add(const std::string& name, kernels::DType type, std::vector<std::int64_t> shape) {
    if (plain_) type = DType::bf16;
    std::size_t values = 1;
    for (const auto size : shape) values *= static_cast<std::size_t>(size);
    auto& bytes = storage_[name];
    bytes.resize(values / kernels::block_values(type) * kernels::block_bytes(type));
    tensors_[name] = {name, type, std::move(shape), bytes, false};
  }

  using DType = kernels::DType;
  const bool plain_;
  const std::string path_ = "zeros";
  std::map<std::string, std::vector<std::byte>> storage_;
  std::map<std::string, model::Tensor, std::less<>> tensors_;
};

// Nothing of it divides evenly by two or three ranks.
inline model::ModelConfig uneven_config(bool tied) {
  model::ModelConfig config;
  config.family = "llama";
  config.hidden_size = 96;
  config.intermediate_size = 416;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 10;
  config.num_key_value_heads = 5;
  config.head_dim = 32;
  config.vocab_size = 107;
  config.max_position_embeddings = 2048;
  config.tie_word_embeddings = tied;
  return config;
}

inline model::Model zero_model(bool tied, bool plain = false) {
  model::Model model;
  model.path = "zeros";
  model.config = uneven_config(tied);
  model.tensors = std::make_unique<ZeroTensors>(model.config, plain);
  return model;
}

}  // namespace lockstep::shard

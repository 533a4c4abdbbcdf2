// A model for sizes alone.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "kernels/dtype.h"
#include "model/model.h"

namespace lockstep::shard {

// How matrices are stored: in many types; all in bf16; those of layers in e4m3 with a scale for
// every block of 128 by 128, and the head in i8.
enum class Stored { mixed, bf16, e4m3_blocks };

// Zeros under Hugging Face names.
class ZeroTensors final : public model::TensorSource {
 public:
  explicit ZeroTensors(const model::ModelConfig& config, Stored stored = Stored::mixed)
      : stored_(stored) {
    const auto hidden = config.hidden_size, inner = config.intermediate_size;
    const auto q = config.num_attention_heads * config.head_dim;
    const auto kv = config.num_key_value_heads * config.head_dim;
    add("model.embed_tokens.weight", mixed(DType::q8_0, DType::bf16), {config.vocab_size, hidden});
    if (!config.tie_word_embeddings) {
      add("lm_head.weight", mixed(DType::f16, DType::i8), {config.vocab_size, hidden});
    }
    add("model.norm.weight", DType::f32, {hidden});
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
      const std::string scope = "model.layers." + std::to_string(i) + ".";
      add(scope + "input_layernorm.weight", DType::f32, {hidden});
      add(scope + "post_attention_layernorm.weight", DType::bf16, {hidden});
      if (config.attention_bias) {
        add(scope + "self_attn.q_proj.bias", DType::f16, {q});
        add(scope + "self_attn.k_proj.bias", DType::f32, {kv});
        add(scope + "self_attn.v_proj.bias", DType::bf16, {kv});
      }
      if (config.head_norms) {
        add(scope + "self_attn.q_norm.weight", DType::f32, {config.head_dim});
        add(scope + "self_attn.k_norm.weight", DType::f32, {config.head_dim});
      }
      const auto matrix = [&](const char* name, DType type, std::int64_t rows,
                              std::int64_t columns) {
        add(scope + name, mixed(type, DType::e4m3), {rows, columns});
      };
      matrix("self_attn.q_proj.weight", DType::q4_0, q, hidden);
      matrix("self_attn.k_proj.weight", i == 0 ? DType::bf16 : DType::e4m3, kv, hidden);
      matrix("self_attn.v_proj.weight", i == 0 ? DType::f32 : DType::i8, kv, hidden);
      matrix("self_attn.o_proj.weight", DType::q4_1, hidden, q);
      matrix("mlp.gate_proj.weight", DType::q4_1, inner, hidden);
      // Interleaved with gate in the first layer, beside it in the others.
      matrix("mlp.up_proj.weight", i == 0 ? DType::q4_1 : DType::q8_0, inner, hidden);
      matrix("mlp.down_proj.weight", DType::q8_0, hidden, inner);
    }
  }

  const model::Tensor* find(std::string_view name) const override {
    const auto at = tensors_.find(name);
    return at == tensors_.end() ? nullptr : &at->second;
  }
  const std::string& path() const override { return path_; }
  void release(const model::Tensor&) const override {}

 private:
  using DType = kernels::DType;
  // `type` where types are mixed, `other` of e4m3_blocks.
  DType mixed(DType type, DType other) const {
    return stored_ == Stored::mixed ? type : stored_ == Stored::bf16 ? DType::bf16 : other;
  }
  void add(const std::string& name, DType type, std::vector<std::int64_t> shape) {
    std::size_t values = 1;
    for (const auto size : shape) values *= static_cast<std::size_t>(size);
    auto& bytes = storage_[name];
    bytes.resize(values / kernels::block_values(type) * kernels::block_bytes(type));
    model::Tensor& tensor = tensors_[name];
    tensor = {name, type, std::move(shape), bytes, false};
    if (type != DType::i8 && type != DType::e4m3) return;
    const bool blocks = stored_ == Stored::e4m3_blocks && type == DType::e4m3;
    tensor.scale_rows = blocks ? 128 : tensor.rows();
    tensor.scale_columns = blocks ? 128 : tensor.columns();
    auto& scales = scales_[name];
    scales.resize(
        static_cast<std::size_t>((tensor.rows() + 127) / 128 * ((tensor.columns() + 127) / 128)),
        1.0f);
    tensor.scales = std::as_bytes(std::span(scales));
  }

  const Stored stored_;
  const std::string path_ = "zeros";
  std::map<std::string, std::vector<std::byte>> storage_;
  std::map<std::string, std::vector<float>> scales_;  // as many as the smallest blocks need
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
  // All that a layer can have beside its matrices, in one of the two.
  config.attention_bias = config.head_norms = tied;
  return config;
}

inline model::Model zero_model(bool tied, Stored stored = Stored::mixed) {
  model::Model model;
  model.path = "zeros";
  model.config = uneven_config(tied);
  model.tensors = std::make_unique<ZeroTensors>(model.config, stored);
  return model;
}

}  // namespace lockstep::shard

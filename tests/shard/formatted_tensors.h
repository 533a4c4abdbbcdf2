// Random weights in any storage format.
#pragma once

#include <map>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "tests/kernels/random_matrix.h"
#include "tests/shard/random_llama.h"

namespace lockstep::shard {

// The rows and columns of e4m3 and u8 that share a scale; 0: all.
struct ScaleBlock {
  std::int64_t rows, columns;
};
inline constexpr ScaleBlock kOfBlocks{128, 128}, kOfRows{1, 0}, kOfTensors{0, 0};

// How far the numbers of a format (MatrixWriter) are from zero at most.
inline float small_spread(kernels::DType type) {
  return type == kernels::DType::f32 ? 1.0f : 0.02f;
}

// Random weights in memory: projections of one format, or in turn of several; norms and
// biases in f32.
class FormattedTensors final : public KnownTensors {
 public:
  FormattedTensors(const model::ModelConfig& config, kernels::DType outer,
                   std::vector<kernels::DType> projections, ScaleBlock scales = kOfBlocks,
                   float (*spread)(kernels::DType) = small_spread)
      : projections_(std::move(projections)), scales_(scales), spread_(spread) {
    const auto hidden = config.hidden_size, inner = config.intermediate_size;
    const auto q = config.num_attention_heads * config.head_dim;
    const auto kv = config.num_key_value_heads * config.head_dim;
    add("model.embed_tokens.weight", outer, config.vocab_size, hidden);
    if (!config.tie_word_embeddings) add("lm_head.weight", outer, config.vocab_size, hidden);
    add_vector("model.norm.weight", hidden);
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
      const std::string scope = "model.layers." + std::to_string(i) + ".";
      const std::string attention = scope + "self_attn.";
      add_vector(scope + "input_layernorm.weight", hidden);
      add_vector(scope + "post_attention_layernorm.weight", hidden);
      add_projection(attention + "q_proj.weight", q, hidden);
      add_projection(attention + "k_proj.weight", kv, hidden);
      add_projection(attention + "v_proj.weight", kv, hidden);
      add_projection(attention + "o_proj.weight", hidden, q);
      add_projection(scope + "mlp.gate_proj.weight", inner, hidden);
      add_projection(scope + "mlp.up_proj.weight", inner, hidden);
      add_projection(scope + "mlp.down_proj.weight", hidden, inner);
      if (config.attention_bias) {
        add_vector(attention + "q_proj.bias", q);
        add_vector(attention + "k_proj.bias", kv);
        add_vector(attention + "v_proj.bias", kv);
      }
      if (config.head_norms) {
        add_vector(attention + "q_norm.weight", config.head_dim);
        add_vector(attention + "k_norm.weight", config.head_dim);
      }
    }
  }

  const model::Tensor* find(std::string_view name) const override {
    const auto at = tensors_.find(name);
    return at == tensors_.end() ? nullptr : &at->second;
  }
  const std::string& path() const override { return path_; }
  void release(const model::Tensor&) const override {}
  double value(const std::string& name, std::int64_t i) const override {
    return matrices_.at(name).values[static_cast<std::size_t>(i)];
  }
  // What a tensor stores, to be bent.
  kernels::RandomMatrix& matrix(const std::string& name) { return matrices_.at(name); }

 private:
  void add_projection(const std::string& name, std::int64_t rows, std::int64_t columns) {
    add(name, projections_[next_++ % projections_.size()], rows, columns);
  }
  void add_vector(const std::string& name, std::int64_t size) {
    add(name, kernels::DType::f32, 8, size / 8);
    tensors_.at(name).shape = {size};
  }
  void add(const std::string& name, kernels::DType type, std::int64_t rows, std::int64_t columns) {
    const auto& matrix =
        matrices_.emplace(name, written(type, rows, columns, spread_(type))).first->second;
    tensors_[name] = {.name = name,
                      .dtype = type,
                      .shape = {rows, columns},
                      .data = matrix.bytes,
                      .scales = matrix.scales,
                      .zeros = matrix.zeros,
                      .group_size = matrix.group_size,
                      .zero_offset = matrix.zero_offset,
                      .scale_type = matrix.scale_type,
                      .scale_rows = matrix.scale_rows,
                      .scale_columns = matrix.scale_columns};
  }
  kernels::RandomMatrix written(kernels::DType type, std::int64_t rows, std::int64_t columns,
                                float spread) {
    kernels::MatrixWriter writer(random_);
    if (type != kernels::DType::e4m3 && type != kernels::DType::u8) {
      return writer.matrix(type, rows, columns, spread);
    }
    kernels::RandomMatrix made{type, rows, columns, {}, {}, {}, {}};
    made.scale_rows = scales_.rows == 0 ? rows : scales_.rows;
    made.scale_columns = scales_.columns == 0 ? columns : scales_.columns;
    writer.write_bytes(made);
    return made;
  }

  std::vector<kernels::DType> projections_;
  ScaleBlock scales_;
  float (*spread_)(kernels::DType);
  std::size_t next_ = 0;
  std::mt19937 random_{41};
  std::string path_ = "random";
  std::map<std::string, kernels::RandomMatrix, std::less<>> matrices_;
  std::map<std::string, model::Tensor, std::less<>> tensors_;
};

}  // namespace lockstep::shard

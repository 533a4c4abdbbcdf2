// A small Llama with random weights in memory, and its forward pass in double precision.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <map>
#include <memory>
#include <numeric>
#include <random>
#include <span>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "kernels/half.h"
#include "model/model.h"

namespace lockstep::shard {

// Tensors of which every number is known.
class KnownTensors : public model::TensorSource {
 public:
  virtual double value(const std::string& name, std::int64_t i) const = 0;
};

// Random weights in memory, bf16, under Hugging Face names.
class RandomTensors final : public KnownTensors {
 public:
  RandomTensors(const model::ModelConfig& config, unsigned seed) : random_(seed) {
    const auto hidden = config.hidden_size, inner = config.intermediate_size;
    const auto q = config.num_attention_heads * config.head_dim;
    const auto kv = config.num_key_value_heads * config.head_dim;
    add("model.embed_tokens.weight", {config.vocab_size, hidden}, 1.0f);
    add("model.norm.weight", {hidden}, 1.0f);
    if (!config.tie_word_embeddings) add("lm_head.weight", {config.vocab_size, hidden}, 0.2f);
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
      const std::string scope = "model.layers." + std::to_string(i) + ".";
      add(scope + "input_layernorm.weight", {hidden}, 1.0f);
      add(scope + "post_attention_layernorm.weight", {hidden}, 1.0f);
      add(scope + "self_attn.q_proj.weight", {q, hidden}, 0.15f);
      add(scope + "self_attn.k_proj.weight", {kv, hidden}, 0.15f);
      add(scope + "self_attn.v_proj.weight", {kv, hidden}, 0.15f);
      if (config.attention_bias) {
        add(scope + "self_attn.q_proj.bias", {q}, 1.0f);
        add(scope + "self_attn.k_proj.bias", {kv}, 1.0f);
        add(scope + "self_attn.v_proj.bias", {kv}, 1.0f);
      }
      if (config.head_norms) {
        add(scope + "self_attn.q_norm.weight", {config.head_dim}, 1.0f);
        add(scope + "self_attn.k_norm.weight", {config.head_dim}, 1.0f);
      }
      add(scope + "self_attn.o_proj.weight", {hidden, q}, 0.15f);
      add(scope + "mlp.gate_proj.weight", {inner, hidden}, 0.15f);
      add(scope + "mlp.up_proj.weight", {inner, hidden}, 0.15f);
      add(scope + "mlp.down_proj.weight", {hidden, inner}, 0.15f);
    }
  }

  const model::Tensor* find(std::string_view name) const override {
    const auto at = tensors_.find(std::string(name));
    return at == tensors_.end() ? nullptr : &at->second;
  }
  const std::string& path() const override { return path_; }
  void release(const model::Tensor&) const override {}

  const std::vector<std::uint16_t>& bits(const std::string& name) const {
    return storage_.at(name);
  }
  double value(const std::string& name, std::int64_t i) const override {
    return kernels::bf16_to_float(storage_.at(name)[static_cast<std::size_t>(i)]);
  }

 private:
  void add(const std::string& name, std::vector<std::int64_t> shape, float spread) {
    std::int64_t count = 1;
    for (const auto size : shape) count *= size;
    auto& values = storage_[name];
    std::normal_distribution<float> normal(0.0f, spread);
    for (std::int64_t i = 0; i < count; ++i)
      values.push_back(kernels::float_to_bf16(normal(random_)));
    tensors_[name] = {name, kernels::DType::bf16, std::move(shape),
                      std::as_bytes(std::span(values)), false};
  }

  std::mt19937 random_;
  std::string path_ = "random";
  std::map<std::string, std::vector<std::uint16_t>> storage_;
  std::map<std::string, model::Tensor> tensors_;
};

inline model::ModelConfig small_config() {
  model::ModelConfig config;
  config.family = "llama";
  config.hidden_size = 96;
  config.intermediate_size = 320;  // ten groups of 32 in six lanes: lanes of unequal width
  config.num_hidden_layers = 2;
  config.num_attention_heads = 6;
  config.num_key_value_heads = 3;
  config.head_dim = 32;
  config.vocab_size = 107;
  config.max_position_embeddings = 256;
  config.rope_theta = 10000.0;
  return config;
}

inline model::ModelConfig with_biases(model::ModelConfig config) {
  config.family = "qwen2";
  config.attention_bias = true;
  return config;
}
inline model::ModelConfig with_head_norms(model::ModelConfig config) {
  config.family = "qwen3";
  config.head_norms = true;
  return config;
}

// A model's shape, for the message of a test over many.
inline std::string shape_text(const model::ModelConfig& config) {
  std::ostringstream out;
  out << config.num_hidden_layers << " layers of " << config.hidden_size << ", "
      << config.num_attention_heads << " heads on " << config.num_key_value_heads << " of "
      << config.head_dim << ", inner " << config.intermediate_size << ", vocabulary "
      << config.vocab_size << (config.tie_word_embeddings ? ", tied" : "")
      << (config.attention_bias ? ", biases" : "") << (config.head_norms ? ", norms of heads" : "");
  return out.str();
}

inline model::Model make_model(const model::ModelConfig& config) {
  model::Model model;
  model.path = "random";
  model.config = config;
  model.tensors = std::make_unique<RandomTensors>(config, 5);
  return model;
}

inline std::vector<std::int32_t> some_tokens(int count, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int32_t> tokens;
  for (int i = 0; i < count; ++i) tokens.push_back(static_cast<std::int32_t>(random() % 107));
  return tokens;
}

// The whole model in double precision, one sequence: logits of the last position. REQUIRES: its
// tensors are KnownTensors.
class Reference {
 public:
  explicit Reference(const model::Model& model)
      : config_(model.config), tensors_(dynamic_cast<const KnownTensors&>(*model.tensors)) {}

  std::vector<double> last_logits(const std::vector<std::int32_t>& tokens) const {
    using Rows = std::vector<std::vector<double>>;
    Rows x;
    for (const auto token : tokens)
      x.push_back(weight_row("model.embed_tokens.weight", token, config_.hidden_size));
    for (std::int64_t layer = 0; layer < config_.num_hidden_layers; ++layer) {
      const std::string scope = "model.layers." + std::to_string(layer) + ".";
      Rows q, k, v;
      for (std::size_t p = 0; p < x.size(); ++p) {
        const auto n = norm(x[p], scope + "input_layernorm.weight");
        q.push_back(rotate(head_norm(project(n, scope + "self_attn.q"), scope + "self_attn.q"), p));
        k.push_back(rotate(head_norm(project(n, scope + "self_attn.k"), scope + "self_attn.k"), p));
        v.push_back(project(n, scope + "self_attn.v"));
      }
      for (std::size_t p = 0; p < x.size(); ++p) {
        add(x[p], multiply(attend(q[p], k, v, p), scope + "self_attn.o_proj.weight"));
        const auto n = norm(x[p], scope + "post_attention_layernorm.weight");
        auto gate = multiply(n, scope + "mlp.gate_proj.weight");
        const auto up = multiply(n, scope + "mlp.up_proj.weight");
        for (std::size_t i = 0; i < gate.size(); ++i)
          gate[i] = gate[i] / (1 + std::exp(-gate[i])) * up[i];
        add(x[p], multiply(gate, scope + "mlp.down_proj.weight"));
      }
    }
    return multiply(norm(x.back(), "model.norm.weight"),
                    config_.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight");
  }

 private:
  std::vector<double> weight_row(const std::string& name, std::int64_t row,
                                 std::int64_t columns) const {
    std::vector<double> values;
    for (std::int64_t i = 0; i < columns; ++i)
      values.push_back(tensors_.value(name, row * columns + i));
    return values;
  }
  std::vector<double> multiply(const std::vector<double>& x, const std::string& name) const {
    const auto& shape = tensors_.find(name)->shape;
    std::vector<double> y;
    for (std::int64_t row = 0; row < shape[0]; ++row) {
      const auto w = weight_row(name, row, shape[1]);
      y.push_back(std::inner_product(w.begin(), w.end(), x.begin(), 0.0));
    }
    return y;
  }
  std::vector<double> project(const std::vector<double>& x, const std::string& name) const {
    auto y = multiply(x, name + "_proj.weight");
    for (std::size_t i = 0; config_.attention_bias && i < y.size(); ++i) {
      y[i] += tensors_.value(name + "_proj.bias", static_cast<std::int64_t>(i));
    }
    return y;
  }
  std::vector<double> head_norm(std::vector<double> heads, const std::string& name) const {
    if (!config_.head_norms) return heads;
    for (auto at = heads.begin(); at != heads.end(); at += config_.head_dim) {
      const std::vector<double> head(at, at + config_.head_dim);
      std::ranges::copy(norm(head, name + "_norm.weight"), at);
    }
    return heads;
  }
  std::vector<double> norm(std::vector<double> x, const std::string& name) const {
    double squares = 0;
    for (const double value : x) squares += value * value;
    const double scale =
        1 / std::sqrt(squares / static_cast<double>(x.size()) + config_.rms_norm_eps);
    for (std::size_t i = 0; i < x.size(); ++i)
      x[i] *= scale * tensors_.value(name, static_cast<std::int64_t>(i));
    return x;
  }
  std::vector<double> rotate(std::vector<double> heads, std::size_t position) const {
    const auto dim = static_cast<std::size_t>(config_.head_dim);
    for (std::size_t h = 0; h < heads.size(); h += dim) {
      for (std::size_t i = 0; i < dim / 2; ++i) {
        const double angle =
            static_cast<double>(position) *
            std::pow(config_.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(dim));
        const double a = heads[h + i], b = heads[h + i + dim / 2];
        heads[h + i] = a * std::cos(angle) - b * std::sin(angle);
        heads[h + i + dim / 2] = b * std::cos(angle) + a * std::sin(angle);
      }
    }
    return heads;
  }
  std::vector<double> attend(const std::vector<double>& q,
                             const std::vector<std::vector<double>>& k,
                             const std::vector<std::vector<double>>& v,
                             std::size_t position) const {
    const auto dim = static_cast<std::size_t>(config_.head_dim);
    const auto shared =
        static_cast<std::size_t>(config_.num_attention_heads / config_.num_key_value_heads);
    std::vector<double> out(q.size());
    for (std::size_t h = 0; h < q.size() / dim; ++h) {
      const std::size_t kv = h / shared * dim;
      std::vector<double> weight;
      double total = 0;
      for (std::size_t p = 0; p <= position; ++p) {
        double score = 0;
        for (std::size_t d = 0; d < dim; ++d) score += q[h * dim + d] * k[p][kv + d];
        weight.push_back(std::exp(score / std::sqrt(static_cast<double>(dim))));
        total += weight.back();
      }
      for (std::size_t p = 0; p <= position; ++p) {
        for (std::size_t d = 0; d < dim; ++d) out[h * dim + d] += weight[p] / total * v[p][kv + d];
      }
    }
    return out;
  }
  static void add(std::vector<double>& x, const std::vector<double>& y) {
    for (std::size_t i = 0; i < x.size(); ++i) x[i] += y[i];
  }

  const model::ModelConfig config_;
  const KnownTensors& tensors_;
};

}  // namespace lockstep::shard

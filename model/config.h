// A model's hyper-parameters, named as in Hugging Face's config.json.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace lockstep::model {

// Llama 3.1's frequency scaling ("rope_type": "llama3").
struct Llama3RopeScaling {
  float factor;
  float low_freq_factor;
  float high_freq_factor;
  std::int64_t original_max_position_embeddings;
};

struct ModelConfig {
  std::string family;           // key of the table of families: "llama"
  bool attention_bias = false;  // q_proj, k_proj and v_proj have a bias (Qwen2)
  // Each head of queries and keys goes through an RMSNorm before it is rotated (Qwen3).
  bool head_norms = false;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;
  std::int64_t vocab_size = 0;
  std::int64_t max_position_embeddings = 0;  // a sliding window, where it is shorter
  float rms_norm_eps = 1e-5f;
  double rope_theta = 10000.0;
  std::optional<Llama3RopeScaling> rope_scaling;
  // GGUF's alternative to rope_scaling (tensor rope_freqs.weight): divisors of the head_dim / 2
  // inverse frequencies. Empty when absent.
  std::vector<float> rope_frequency_divisors;
  bool tie_word_embeddings = false;
  std::optional<std::int32_t> bos_token_id;
  std::vector<std::int32_t> eos_token_ids;  // any of them ends an answer
};

}  // namespace lockstep::model

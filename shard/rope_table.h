// Cosines and sines of the rotary position embedding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/config.h"

namespace lockstep::shard {

// Su et al., arXiv:2104.09864; Llama 3.1's frequency scaling as in Hugging Face's
// modeling_rope_utils.py ("llama3").
class RopeTable {
 public:
  RopeTable(const model::ModelConfig& config, std::int64_t max_positions);
  // Memory that a table takes, and what this one has.
  static std::size_t bytes(const model::ModelConfig& config, std::int64_t max_positions);
  std::size_t bytes() const { return (cos_.size() + sin_.size()) * sizeof(float); }

  const float* cos(std::int64_t position) const {
    return &cos_[static_cast<std::size_t>(position * half_)];
  }
  const float* sin(std::int64_t position) const {
    return &sin_[static_cast<std::size_t>(position * half_)];
  }

 private:
  std::int64_t half_;       // head_dim / 2
  std::vector<float> cos_;  // [max_positions, head_dim / 2]
  std::vector<float> sin_;
};

// The head_dim / 2 inverse frequencies.
std::vector<double> rope_frequencies(const model::ModelConfig& config);

}  // namespace lockstep::shard

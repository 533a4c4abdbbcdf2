// Rows of logits and inputs for the tests of sampling.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <random>
#include <utility>
#include <vector>

#include "shard/token_selection.h"

namespace lockstep::shard {

// `size` logits drawn from a normal distribution.
inline std::vector<float> random_row(std::size_t size, std::uint64_t seed, float deviation = 3.0f) {
  std::mt19937_64 random(seed);
  std::normal_distribution<float> normal(0.0f, deviation);
  std::vector<float> row(size);
  for (float& logit : row) logit = normal(random);
  return row;
}

// Sampling parameters with the given fields; the others have their defaults.
struct Sampling {
  float temperature = 0.0f;
  float top_p = 1.0f;
  std::int32_t top_k = 0;
  float min_p = 0.0f;
  float repetition_penalty = 1.0f;
  float presence_penalty = 0.0f;
  float frequency_penalty = 0.0f;
  std::uint64_t seed = 0;
  std::int32_t logprobs = -1;
  std::int32_t min_tokens = 0;
  std::vector<std::int32_t> stop_token_ids = {};
  std::vector<std::pair<std::int32_t, float>> logit_bias = {};
};

inline comm::SamplingParams params_of(const Sampling& s) {
  return {s.temperature,
          s.top_p,
          s.top_k,
          s.min_p,
          s.repetition_penalty,
          s.presence_penalty,
          s.frequency_penalty,
          s.seed,
          s.logprobs,
          s.min_tokens,
          s.stop_token_ids,
          s.logit_bias};
}

inline VocabRange whole(const std::vector<float>& row) {
  return {0, static_cast<std::int32_t>(row.size())};
}

// softmax(logits / temperature) by the library's functions.
inline std::vector<double> softmax(const std::vector<float>& logits, double temperature = 1.0) {
  double top = -INFINITY;
  for (const float logit : logits) top = std::max(top, logit / temperature);
  double sum = 0.0;
  std::vector<double> result;
  for (const float logit : logits) {
    result.push_back(std::exp(logit / temperature - top));
    sum += result.back();
  }
  for (double& p : result) p /= sum;
  return result;
}

}  // namespace lockstep::shard

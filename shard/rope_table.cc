#include "shard/rope_table.h"

#include <cmath>
#include <numbers>

namespace lockstep::shard {
namespace {

double scale_llama3(double frequency, const model::Llama3RopeScaling& scaling) {
  const double wavelength = 2.0 * std::numbers::pi / frequency;
  const auto original = static_cast<double>(scaling.original_max_position_embeddings);
  if (wavelength < original / scaling.high_freq_factor) return frequency;
  if (wavelength > original / scaling.low_freq_factor) return frequency / scaling.factor;
  const double smooth = (original / wavelength - scaling.low_freq_factor) /
                        (scaling.high_freq_factor - scaling.low_freq_factor);
  return (1.0 - smooth) * frequency / scaling.factor + smooth * frequency;
}

}  // namespace

std::vector<double> rope_frequencies(const model::ModelConfig& config) {
  std::vector<double> frequencies;
  for (std::int64_t i = 0; i < config.head_dim / 2; ++i) {
    double frequency = std::pow(
        config.rope_theta, -2.0 * static_cast<double>(i) / static_cast<double>(config.head_dim));
    if (config.rope_scaling) frequency = scale_llama3(frequency, *config.rope_scaling);
    if (!config.rope_frequency_divisors.empty()) {
      frequency /= config.rope_frequency_divisors[static_cast<std::size_t>(i)];
    }
    frequencies.push_back(frequency);
  }
  return frequencies;
}

RopeTable::RopeTable(const model::ModelConfig& config, std::int64_t max_positions)
    : half_(config.head_dim / 2) {
  const auto frequencies = rope_frequencies(config);
  cos_.reserve(static_cast<std::size_t>(max_positions * half_));
  sin_.reserve(cos_.capacity());
  for (std::int64_t position = 0; position < max_positions; ++position) {
    for (const double frequency : frequencies) {
      const double angle = static_cast<double>(position) * frequency;
      cos_.push_back(static_cast<float>(std::cos(angle)));
      sin_.push_back(static_cast<float>(std::sin(angle)));
    }
  }
}

std::size_t RopeTable::bytes(const model::ModelConfig& config, std::int64_t max_positions) {
  return 2 * static_cast<std::size_t>(max_positions * (config.head_dim / 2)) * sizeof(float);
}

}  // namespace lockstep::shard

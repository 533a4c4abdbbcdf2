#include "shard/gpu/sampling_lists.h"

#include <bit>

namespace lockstep::shard {
namespace {

using kernels::cuda::RowSampling;

bool forbids_stop_tokens(const SamplingInput& input) {
  return input.num_answer_tokens < input.params->min_tokens;
}

// Counted tokens, with one for the answer's last, be it known, and new, or not.
std::size_t most_counted(const SamplingInput& input) {
  const TokenCounts& counts = *input.counts;
  if (input.num_answer_tokens == 0) return counts.entries().size();
  return 1 + (input.sampled_row < 0 ? counts.before_last() : counts.entries().size());
}

std::size_t most_entries(const SamplingInput& input) {
  const comm::SamplingParams& params = *input.params;
  return params.logit_bias.size() +
         (forbids_stop_tokens(input) ? params.stop_token_ids.size() : 0) +
         (has_penalty(params) ? most_counted(input) : 0);
}

}  // namespace

void SamplingLists::clear() {
  rows_.clear();
  listed_.clear();
  reserved_ = 0;
}

kernels::cuda::Run SamplingLists::run_from(std::size_t begin) const {
  return {static_cast<std::int32_t>(begin), static_cast<std::int32_t>(listed_.size())};
}

bool SamplingLists::add(const SamplingInput& input) {
  const std::size_t reserved = reserved_ + most_entries(input);
  if (reserved > static_cast<std::size_t>(most_listed_)) {
    add_none();
    return false;
  }
  reserved_ = reserved;
  const comm::SamplingParams& params = *input.params;
  RowSampling row{.seed = params.seed,
                  .position = input.position,
                  .temperature = is_greedy(params) ? 0.0f : params.temperature,
                  .repetition_penalty = params.repetition_penalty,
                  .presence_penalty = params.presence_penalty,
                  .frequency_penalty = params.frequency_penalty,
                  .biases = {},
                  .forbidden = {},
                  .counts = {},
                  .sampled_row = has_penalty(params) ? input.sampled_row : -1,
                  .elsewhere = 0};
  std::size_t begin = listed_.size();
  for (const auto& [token, bias] : params.logit_bias) {
    listed_.push_back({token, std::bit_cast<std::int32_t>(bias)});
  }
  row.biases = run_from(begin);
  begin = listed_.size();
  if (forbids_stop_tokens(input)) {
    for (const std::int32_t token : params.stop_token_ids) listed_.push_back({token, 0});
  }
  row.forbidden = run_from(begin);
  begin = listed_.size();
  if (has_penalty(params)) {
    for (const TokenCount& count : input.counts->entries()) {
      listed_.push_back({count.token_id, count.in_answer});
    }
  }
  row.counts = run_from(begin);
  rows_.push_back(row);
  return true;
}

void SamplingLists::add_none() {
  rows_.push_back({.seed = 0,
                   .position = 0,
                   .temperature = 0.0f,
                   .repetition_penalty = 1.0f,
                   .presence_penalty = 0.0f,
                   .frequency_penalty = 0.0f,
                   .biases = {},
                   .forbidden = {},
                   .counts = {},
                   .sampled_row = -1,
                   .elsewhere = 1});
}

}  // namespace lockstep::shard

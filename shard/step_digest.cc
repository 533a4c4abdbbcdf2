#include "shard/step_digest.h"

#include <vector>

#include "base/hash.h"

namespace lockstep::shard {
namespace {

template <class T>
void add_list(Hash64& hash, const std::vector<T>& values) {
  hash.add(values.size());
  for (const T value : values) hash.add(value);
}

void add_sampling(Hash64& hash, const comm::SamplingParams& params) {
  hash.add(params.temperature).add(params.top_p).add(params.top_k).add(params.min_p);
  hash.add(params.repetition_penalty).add(params.presence_penalty).add(params.frequency_penalty);
  hash.add(params.seed).add(params.logprobs).add(params.min_tokens);
  add_list(hash, params.stop_token_ids);
  hash.add(params.logit_bias.size());
  for (const auto& [token_id, bias] : params.logit_bias) hash.add(token_id).add(bias);
}

void add_plan(Hash64& hash, const comm::StepPlan& plan) {
  hash.add(plan.epoch).add(plan.sequence_number).add(plan.shutdown);
  add_list(hash, plan.ends);
  hash.add(plan.starts.size());
  for (const comm::SequenceStart& start : plan.starts) {
    hash.add(start.sequence_id).add(start.num_prompt_tokens);
    add_sampling(hash, start.sampling);
    add_list(hash, start.token_ids);
  }
  hash.add(plan.sampled.size());
  for (const comm::KnownToken& token : plan.sampled) {
    hash.add(token.sequence_id).add(token.token_id);
  }
  hash.add(plan.entries.size());
  for (const comm::PlanEntry& entry : plan.entries) {
    hash.add(entry.sequence_id).add(entry.first_position).add(entry.num_tokens);
    hash.add(entry.samples).add(entry.max_drafts);
    add_list(hash, entry.new_blocks);
  }
}

}  // namespace

std::uint64_t step_digest(std::uint64_t previous, const comm::StepPlan& plan,
                          std::span<const comm::SampledToken> sampled) {
  Hash64 hash;
  hash.add(previous);
  add_plan(hash, plan);
  hash.add(sampled.size());
  for (const comm::SampledToken& token : sampled) {
    hash.add(token.sequence_id).add(token.token_id).add(token.logprob);
    hash.add(token.top_logprobs.size());
    for (const comm::TokenLogprob& top : token.top_logprobs)
      hash.add(top.token_id).add(top.logprob);
  }
  return hash.value();
}

}  // namespace lockstep::shard

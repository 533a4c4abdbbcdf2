// Every structure that passes between the coordinator and the shards. The byte format is msgpack
// (comm/plan_codec.h).
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace lockstep::comm {

// How a sequence's tokens are chosen. Names and meanings are vLLM's.
struct SamplingParams {
  float temperature = 0.0f;  // 0: the most likely token
  float top_p = 1.0f;
  std::int32_t top_k = 0;  // 0: all
  float min_p = 0.0f;
  float repetition_penalty = 1.0f;  // over prompt and answer
  float presence_penalty = 0.0f;    // over the answer
  float frequency_penalty = 0.0f;   // over the answer
  std::uint64_t seed = 0;
  std::int32_t logprobs = -1;   // -1: none; n: the token's own and the n best
  std::int32_t min_tokens = 0;  // the tokens in `stop_token_ids` are impossible before this many
  std::vector<std::int32_t> stop_token_ids;                // end-of-sequence tokens included
  std::vector<std::pair<std::int32_t, float>> logit_bias;  // ascending token ids
};

// A sequence that the shards do not know yet (or know no longer, after a preemption).
struct SequenceStart {
  std::uint64_t sequence_id = 0;
  SamplingParams sampling;
  std::int32_t num_prompt_tokens = 0;   // the first so many of token_ids are the prompt
  std::vector<std::int32_t> token_ids;  // the prompt, and after a preemption the answer so far
};

// The first_position of an entry of one token: that of the sequence's last token. Where earlier
// plans in flight draft, only the shards know which that is.
inline constexpr std::int32_t kAtLastToken = -1;

// One sequence's share of a step: positions [first_position, first_position + num_tokens). Their
// tokens are those of the shards' mirror of the sequence, which ends with what was sampled last.
struct PlanEntry {
  std::uint64_t sequence_id = 0;
  std::int32_t first_position = 0;
  std::int32_t num_tokens = 0;
  bool samples = false;  // draw the next token after the last position
  // Speculative decoding: the shards guess up to so many tokens that follow the last one, and
  // compute these in the same step. Each draft that turns out to be the token that is drawn in its
  // place brings one more token. 0 unless the entry samples.
  std::int32_t max_drafts = 0;
  std::vector<std::int32_t> new_blocks;  // appended to the sequence's block table
};

// A token that an earlier step has sampled.
struct KnownToken {
  std::uint64_t sequence_id = 0;
  std::int32_t token_id = 0;
};

// What every shard does next. Plans are executed in the order of sequence_number, without gaps.
struct StepPlan {
  std::uint64_t epoch = 0;            // the life of the replica
  std::uint64_t sequence_number = 0;  // 1, 2, 3, ... in an epoch
  bool shutdown = false;              // the last plan
  std::vector<std::uint64_t> ends;    // sequences to forget, before anything else
  std::vector<SequenceStart> starts;
  // In a pipeline only the last stage samples, so plans tell all shards what was sampled: each of
  // these ends its sequence's known tokens. Empty where there is one stage: its shards know.
  std::vector<KnownToken> sampled;
  std::vector<PlanEntry> entries;  // empty: a heartbeat
};

struct TokenLogprob {
  std::int32_t token_id = 0;
  float logprob = 0.0f;
};

struct SampledToken {
  std::uint64_t sequence_id = 0;
  std::int32_t token_id = 0;
  float logprob = 0.0f;                    // of the unmodified distribution; 0 unless asked for
  std::vector<TokenLogprob> top_logprobs;  // best first
};

// What a shard answers to one plan. Every rank sends one; only that of the last pipeline stage's
// first rank (rank 0, where there is one stage) carries the tokens.
struct StepReport {
  std::uint64_t epoch = 0;
  std::uint64_t sequence_number = 0;
  std::int32_t rank = 0;
  // A sign that the rank works on a step that takes long, whose report is still to come. Of the
  // fields below none counts.
  bool underway = false;
  // Over the plan's bytes, the previous digest and all tokens that the rank's stage has sampled.
  std::uint64_t digest = 0;
  std::uint32_t compute_us = 0;  // the whole step
  std::uint32_t wait_us = 0;     // of it, inside collectives or for the stage before
  // The step by its parts: products of weights; attention; all-reduces (all collectives, and the
  // sums of what they bring); what goes element by element; sampling. The rest is bookkeeping.
  std::uint32_t product_us = 0;
  std::uint32_t attention_us = 0;
  std::uint32_t all_reduce_us = 0;
  std::uint32_t elementwise_us = 0;
  std::uint32_t sampling_us = 0;
  // Before the step, for its plan; 0 when no sequence goes on in it: the replica was idle.
  std::uint32_t plan_wait_us = 0;
  // On GPUs: the step's tokens that the host has chosen, of rows for which the device has no room.
  std::uint32_t rows_on_host = 0;
  std::uint32_t drafts = 0;           // tokens that were guessed in the step
  std::uint32_t accepted_drafts = 0;  // of them, those that were right
  // One or, with accepted drafts, more for each entry that samples, in the plan's order.
  std::vector<SampledToken> sampled;
};

}  // namespace lockstep::comm

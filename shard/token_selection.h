// The choice of a sequence's next token from its logits: pure functions with the same result on
// every rank and machine. The steps and their order are vLLM's: logit_bias, min_tokens, penalties,
// temperature, min_p, top_k, top_p, draw.
//
// The draw is the Gumbel-max trick (Gumbel 1954; Maddison et al., "A* Sampling", 2014): the token
// with the largest logit / temperature + noise, noise = -log(-log(u)), is a draw from the softmax.
// The noise of a token depends on (seed, position, token id) alone, so ranks that hold different
// rows of the vocabulary each find their best token and only compare scores. Its u is the upper 24
// bits of word id % 4 of Philox4x32-10 with the counter (position, 0, id / 4, 0) under the seed.
//
// A logit of NaN counts as -infinity: such a token is never chosen.
#pragma once

#include <cstdint>
#include <span>

#include "comm/message.h"
#include "kernels/scored_token.h"
#include "shard/model_runner.h"
#include "shard/token_counts.h"

namespace lockstep::shard {

// Temperatures below this count as 0, as in vLLM: the most likely token.
inline constexpr float kGreedyBelow = 1e-5f;

// All that the choice depends on besides the logits.
struct SamplingInput {
  std::uint64_t sequence_id = 0;
  const comm::SamplingParams* params = nullptr;  // never null
  const TokenCounts* counts = nullptr;           // REQUIRES: not null if has_penalty(*params)
  // The answer's last token is not known yet, nor among the counts: it is what the step before has
  // chosen for its row of this number. -1: all are known, as the functions below have it.
  std::int32_t sampled_row = -1;
  std::int32_t num_answer_tokens = 0;  // so far, without the token to choose
  std::int32_t position = 0;           // of the token to choose: its index in the sequence
};

using kernels::ScoredToken;
using kernels::wins;

constexpr bool is_greedy(const comm::SamplingParams& params) {
  return params.temperature < kGreedyBelow;
}

// Whether the sequence's TokenCounts are needed.
constexpr bool has_penalty(const comm::SamplingParams& params) {
  return params.repetition_penalty != 1.0f || params.presence_penalty != 0.0f ||
         params.frequency_penalty != 0.0f;
}

// Whether some tokens are cut off before the draw, so that the draw needs the whole row.
constexpr bool has_truncation(const comm::SamplingParams& params) {
  return !is_greedy(params) && (params.top_k > 0 || params.top_p < 1.0f || params.min_p > 0.0f);
}

// Applies logit_bias, min_tokens and the penalties to `logits` [range.end - range.begin], the
// logits of the token ids in `range`. A token outside the range is left to its owner.
void modify_logits(std::span<float> logits, VocabRange range, const SamplingInput& input);

// What a token is ranked by when the temperature is not 0.
// REQUIRES: !is_greedy(*input.params)
float noisy_score(float logit, std::int32_t token_id, const SamplingInput& input);

// The winner among the modified `logits` [range.end - range.begin] without truncation: the largest
// logit if greedy, else the largest noisy score. The winner of a vocabulary is the winner among
// the winners of its ranges.
ScoredToken best_token(std::span<const float> logits, VocabRange range, const SamplingInput& input);

// The choice from a whole vocabulary's raw logits [vocab_size], with logprobs where asked for: the
// token that best_token over the vocabulary's ranges gives where that suffices.
// Throws Error as check_winner does, and if logprobs are asked for and a raw logit is infinite.
comm::SampledToken select_token(std::span<const float> raw_logits, const SamplingInput& input);

// Throws Error naming the sequence if `winner` is no token or its score is not finite.
void check_winner(ScoredToken winner, const SamplingInput& input);

}  // namespace lockstep::shard

// min_p, top_k and top_p: which tokens may be drawn.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "comm/message.h"

namespace lockstep::shard {

// With q = logit / temperature, rounded to float, and q_max the largest of them, a token's distance
// is q - q_max, rounded to float. Those nearer than this are what min_p keeps: log(min_p), or
// -infinity for a min_p of 0.
float least_distance(float min_p);

// The tokens of the modified `logits` [vocab_size] that remain, best first (logit descending, then
// id ascending); at least one if any logit exceeds -infinity. In vLLM's order, over
// p = softmax(logits / temperature):
//   min_p  keeps tokens with p >= min_p * max(p): at a distance of log(min_p) or nearer;
//   top_k  keeps the first k of these (of tokens with equal logits, those with lower ids);
//   top_p  renormalises what is left and keeps a token while those before it sum to less than
//          top_p. Holtzman et al., "The Curious Case of Neural Text Degeneration", 2020.
//          Sums are those of the tokens' weights (kernels/token_weight.h), so they have no order.
// REQUIRES: has_truncation(params); the largest logit is finite or -infinity.
std::vector<std::int32_t> kept_tokens(std::span<const float> logits,
                                      const comm::SamplingParams& params);

}  // namespace lockstep::shard

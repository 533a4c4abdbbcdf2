// Log-probabilities of the unmodified distribution (vLLM's default, "raw_logprobs").
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "comm/message.h"

namespace lockstep::shard {

// The most of a token's best that a request may ask for.
inline constexpr std::int32_t kMostLogprobs = 20;

// log softmax of a row of raw logits: the sum of the tokens' weights (kernels/token_weight.h), the
// rest in double, rounded to float.
// The row must outlive the object.
class Logprobs {
 public:
  // REQUIRES: the largest logit is finite. NaN counts as -infinity.
  explicit Logprobs(std::span<const float> raw_logits);

  // Of one token; -infinity if its logit is, or is NaN.
  float of(std::int32_t token_id) const;

  // The `count` most likely tokens, best first, those with lower ids first among equals; fewer if
  // fewer are possible.
  std::vector<comm::TokenLogprob> best(std::int32_t count) const;

 private:
  std::span<const float> raw_logits_;
  double log_sum_ = 0.0;  // log of the sum of e^logit
};

}  // namespace lockstep::shard

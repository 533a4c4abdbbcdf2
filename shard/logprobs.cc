#include "shard/logprobs.h"

#include <cmath>
#include <limits>

#include "kernels/token_weight.h"
#include "shard/ranked_tokens.h"
#include "shard/row_scan.h"

namespace lockstep::shard {

Logprobs::Logprobs(std::span<const float> raw_logits) : raw_logits_(raw_logits) {
  const float top = BlockMaxima(raw_logits).top();
  log_sum_ = kernels::log_of_weights(sum_of_weights(raw_logits, 1.0f, top), top);
}

float Logprobs::of(std::int32_t token_id) const {
  const float logit = raw_logits_[static_cast<std::size_t>(token_id)];
  if (std::isnan(logit)) return -std::numeric_limits<float>::infinity();
  return static_cast<float>(static_cast<double>(logit) - log_sum_);
}

std::vector<comm::TokenLogprob> Logprobs::best(std::int32_t count) const {
  std::vector<comm::TokenLogprob> result;
  RankedTokens ranked(raw_logits_);
  for (std::int32_t rank = 0; rank < count; ++rank) {
    const std::int32_t token = ranked.at(static_cast<std::size_t>(rank));
    if (token < 0) break;
    result.push_back({.token_id = token, .logprob = of(token)});
  }
  return result;
}

}  // namespace lockstep::shard

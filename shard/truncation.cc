#include "shard/truncation.h"

#include <cstddef>
#include <limits>

#include "kernels/deterministic_math.h"
#include "kernels/token_weight.h"
#include "shard/ranked_tokens.h"

namespace lockstep::shard {
namespace {

// How many of the ranked `weights` top_p keeps, out of `total` weight.
std::size_t kept_by_top_p(std::span<const std::uint64_t> weights, std::uint64_t total,
                          float top_p) {
  const std::uint64_t needed = kernels::weight_needed(top_p, total);
  std::uint64_t before = 0;
  std::size_t kept = 0;
  while (kept < weights.size() && (kept == 0 || before < needed)) before += weights[kept++];
  return kept;
}

}  // namespace

float least_distance(float min_p) {
  if (!(min_p > 0.0f)) return -std::numeric_limits<float>::infinity();
  return static_cast<float>(kernels::deterministic_log(static_cast<double>(min_p)));
}

std::vector<std::int32_t> kept_tokens(std::span<const float> logits,
                                      const comm::SamplingParams& params) {
  RankedTokens ranked(logits);
  const float top = ranked.top() / params.temperature;
  const float least = least_distance(params.min_p);
  const std::size_t limit =
      params.top_k > 0 ? static_cast<std::size_t>(params.top_k) : logits.size();
  // Without min_p and top_k nothing is dropped before top_p, so its total is known beforehand and
  // the ranking may stop as soon as it is reached.
  const bool top_p_alone = params.top_p < 1.0f && params.min_p <= 0.0f && limit >= logits.size();
  const std::uint64_t needed =
      top_p_alone
          ? kernels::weight_needed(params.top_p, sum_of_weights(logits, params.temperature, top))
          : 0;

  std::vector<std::int32_t> tokens;
  std::vector<std::uint64_t> weights;
  std::uint64_t sum = 0;
  while (tokens.size() < limit) {
    const std::int32_t token = ranked.at(tokens.size());
    if (token < 0) break;
    if (top_p_alone && !tokens.empty() && sum >= needed) break;
    const float distance = logits[static_cast<std::size_t>(token)] / params.temperature - top;
    if (!tokens.empty() && distance < least) break;
    tokens.push_back(token);
    weights.push_back(kernels::token_weight(distance));
    sum += weights.back();
  }
  if (params.top_p < 1.0f && !top_p_alone) {
    tokens.resize(kept_by_top_p(weights, sum, params.top_p));
  }
  return tokens;
}

}  // namespace lockstep::shard

#include "shard/truncation.h"

#include <cstddef>

#include "kernels/deterministic_math.h"
#include "shard/ranked_tokens.h"

namespace lockstep::shard {
namespace {

// How many of the ranked `weights` top_p keeps, out of `total` weight.
std::size_t kept_by_top_p(std::span<const double> weights, double total, float top_p) {
  double before = 0.0;
  std::size_t kept = 0;
  while (kept < weights.size() && (kept == 0 || before < double{top_p} * total)) {
    before += weights[kept++];
  }
  return kept;
}

}  // namespace

std::vector<std::int32_t> kept_tokens(std::span<const float> logits,
                                      const comm::SamplingParams& params) {
  RankedTokens ranked(logits);
  const double top = static_cast<double>(ranked.top() / params.temperature);
  const std::size_t limit =
      params.top_k > 0 ? static_cast<std::size_t>(params.top_k) : logits.size();
  // Without min_p and top_k nothing is dropped before top_p, so its total is known beforehand and
  // the ranking may stop as soon as it is reached.
  const bool top_p_alone = params.top_p < 1.0f && params.min_p <= 0.0f && limit >= logits.size();
  const double total = top_p_alone ? sum_of_exponentials(logits, params.temperature, top) : 0.0;

  std::vector<std::int32_t> tokens;
  std::vector<double> weights;
  double sum = 0.0;
  while (tokens.size() < limit) {
    const std::int32_t token = ranked.at(tokens.size());
    if (token < 0) break;
    if (top_p_alone && !tokens.empty() && sum >= double{params.top_p} * total) break;
    const double weight =
        kernels::deterministic_exp(static_cast<double>(logits[token] / params.temperature) - top);
    if (!tokens.empty() && weight < double{params.min_p}) break;
    tokens.push_back(token);
    weights.push_back(weight);
    sum += weight;
  }
  if (params.top_p < 1.0f && !top_p_alone) {
    tokens.resize(kept_by_top_p(weights, sum, params.top_p));
  }
  return tokens;
}

}  // namespace lockstep::shard

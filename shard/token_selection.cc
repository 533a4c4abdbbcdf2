#include "shard/token_selection.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>
#include <string>
#include <vector>

#include "base/error.h"
#include "kernels/deterministic_math.h"
#include "kernels/philox.h"
#include "kernels/token_noise.h"
#include "shard/logprobs.h"
#include "shard/row_scan.h"
#include "shard/truncation.h"

namespace lockstep::shard {
namespace {

constexpr float kImpossible = -std::numeric_limits<float>::infinity();

bool contains(VocabRange range, std::int32_t token_id) {
  return token_id >= range.begin && token_id < range.end;
}

bool forbids_stop_tokens(const SamplingInput& input) {
  return input.num_answer_tokens < input.params->min_tokens;
}

bool has_modification(const SamplingInput& input) {
  return !input.params->logit_bias.empty() || forbids_stop_tokens(input) ||
         has_penalty(*input.params);
}

// The random words of the tokens 4 * group ... 4 * group + 3.
kernels::PhiloxCounter random_words(std::uint32_t group, const SamplingInput& input) {
  return kernels::token_words(input.params->seed, input.position, group);
}

ScoredToken likeliest_token(std::span<const float> logits, VocabRange range) {
  const BlockMaxima maxima(logits);
  if (!(maxima.top() > kImpossible)) return {};
  const auto values = scan_block(logits, maxima.top_block());
  const auto first = std::find(values.begin(), values.end(), maxima.top());
  const auto offset = maxima.top_block() * BlockMaxima::kScanBlock +
                      static_cast<std::size_t>(first - values.begin());
  return {maxima.top(), range.begin + static_cast<std::int32_t>(offset)};
}

// Finds the largest noisy score without computing the noise of every token. Exact, because
//   - quotient, sum and gumbel_noise are each non-decreasing functions, rounding included, so the
//     score of a block's largest logit with some noise bounds those of all its tokens with less;
//   - a token is passed over only if such a bound is strictly below a score already found.
class NoisySearch {
 public:
  NoisySearch(std::span<const float> logits, VocabRange range, const SamplingInput& input)
      : logits_(logits), range_(range), input_(input), maxima_(logits) {}

  ScoredToken run() {
    if (!(maxima_.top() > kImpossible)) return {};
    search(maxima_.top_block());  // a good score to begin with
    for (std::size_t block = 0; block < maxima_.values().size(); ++block) {
      if (block != maxima_.top_block()) search(block);
    }
    return best_;
  }

 private:
  void search(std::size_t block) {
    const float top = maxima_.values()[block] / input_.params->temperature;
    if (top + most_noise_ < best_.score || !(top > kImpossible)) return;

    const std::span<const float> values = scan_block(logits_, block);
    const std::int32_t first =
        range_.begin + static_cast<std::int32_t>(block * BlockMaxima::kScanBlock);
    const std::span<const float> uniforms = uniforms_of(first, values.size());
    const float hopeless = hopeless_uniform(top);
    for (std::size_t i = 0; i < values.size(); ++i) {
      if (uniforms[i] <= hopeless || !(values[i] > kImpossible)) continue;
      const ScoredToken token{
          values[i] / input_.params->temperature + kernels::gumbel_noise(uniforms[i]),
          first + static_cast<std::int32_t>(i)};
      if (wins(token, best_)) best_ = token;
    }
  }

  // The uniform numbers of `count` tokens from `first`, in uniforms_: whole groups of four, so that
  // some may lie before `first` and after the last.
  std::span<const float> uniforms_of(std::int32_t first, std::size_t count) {
    const auto first_group = static_cast<std::uint32_t>(first) / 4;
    const std::size_t offset = static_cast<std::uint32_t>(first) % 4;
    const std::size_t groups = (offset + count + 3) / 4;
    for (std::size_t group = 0; group < groups; ++group) {
      const auto words = random_words(first_group + static_cast<std::uint32_t>(group), input_);
      for (std::size_t i = 0; i < 4; ++i) uniforms_[4 * group + i] = kernels::uniform_of(words[i]);
    }
    return std::span(uniforms_).subspan(offset, count);
  }

  // A uniform number up to which no token with a logit / temperature of at most `top` can win; -1
  // if none is known. A guess somewhat below the solution of top + kernels::gumbel_noise(u) = best
  // score, then verified: rounding cannot make it wrong, only useless.
  float hopeless_uniform(float top) const {
    const double gap = static_cast<double>(best_.score) - static_cast<double>(top);
    const double margin = 1e-6 * (20.0 + std::fabs(static_cast<double>(best_.score)) +
                                  std::fabs(static_cast<double>(top)));
    if (!(gap - margin > -2.5)) return -1.0f;
    const double guess = kernels::deterministic_exp(-kernels::deterministic_exp(margin - gap));
    // The multiple of 2^-24 at or below the guess, less the 2^-25 that gumbel_noise adds.
    const auto steps = static_cast<std::int32_t>(guess * 0x1p24 - 0.5);
    const float uniform = static_cast<float>(std::max(steps, 0)) * 0x1p-24f;
    return top + kernels::gumbel_noise(uniform) < best_.score ? uniform : -1.0f;
  }

  std::span<const float> logits_;
  VocabRange range_;
  const SamplingInput& input_;
  BlockMaxima maxima_;
  float most_noise_ = kernels::gumbel_noise(1.0f - 0x1p-24f);
  std::array<float, BlockMaxima::kScanBlock + 8> uniforms_;
  ScoredToken best_;
};

ScoredToken best_of(std::span<const std::int32_t> tokens, std::span<const float> logits,
                    const SamplingInput& input) {
  ScoredToken best;
  for (const std::int32_t token : tokens) {
    const ScoredToken candidate{noisy_score(logits[static_cast<std::size_t>(token)], token, input),
                                token};
    if (wins(candidate, best)) best = candidate;
  }
  return best;
}

}  // namespace

void modify_logits(std::span<float> logits, VocabRange range, const SamplingInput& input) {
  const comm::SamplingParams& params = *input.params;
  const auto at = [&](std::int32_t token_id) -> float& {
    return logits[static_cast<std::size_t>(token_id - range.begin)];
  };
  for (const auto& [token_id, bias] : params.logit_bias) {
    if (contains(range, token_id)) at(token_id) += bias;
  }
  if (forbids_stop_tokens(input)) {
    for (const std::int32_t token_id : params.stop_token_ids) {
      if (contains(range, token_id)) at(token_id) = kImpossible;
    }
  }
  if (!has_penalty(params)) return;
  for (const TokenCount& count : input.counts->entries()) {
    if (!contains(range, count.token_id)) continue;
    float& logit = at(count.token_id);
    logit = logit > 0.0f ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    logit -= params.frequency_penalty * static_cast<float>(count.in_answer);
    if (count.in_answer > 0) logit -= params.presence_penalty;
  }
}

float noisy_score(float logit, std::int32_t token_id, const SamplingInput& input) {
  const auto id = static_cast<std::uint32_t>(token_id);
  const float uniform = kernels::uniform_of(random_words(id / 4, input)[id % 4]);
  return logit / input.params->temperature + kernels::gumbel_noise(uniform);
}

ScoredToken best_token(std::span<const float> logits, VocabRange range,
                       const SamplingInput& input) {
  if (is_greedy(*input.params)) return likeliest_token(logits, range);
  return NoisySearch(logits, range, input).run();
}

comm::SampledToken select_token(std::span<const float> raw_logits, const SamplingInput& input) {
  const comm::SamplingParams& params = *input.params;
  const VocabRange whole{0, static_cast<std::int32_t>(raw_logits.size())};
  std::vector<float> modified;
  std::span<const float> logits = raw_logits;
  if (has_modification(input)) {
    modified.assign(raw_logits.begin(), raw_logits.end());
    modify_logits(modified, whole, input);
    logits = modified;
  }

  const ScoredToken likeliest = likeliest_token(logits, whole);
  check_winner(likeliest, input);
  ScoredToken winner = likeliest;
  if (has_truncation(params)) {
    winner = best_of(kept_tokens(logits, params), logits, input);
  } else if (!is_greedy(params)) {
    winner = best_token(logits, whole, input);
  }
  check_winner(winner, input);

  comm::SampledToken result;
  result.sequence_id = input.sequence_id;
  result.token_id = winner.token_id;
  if (params.logprobs >= 0) {
    check_winner(likeliest_token(raw_logits, whole), input);
    const Logprobs logprobs(raw_logits);
    result.logprob = logprobs.of(winner.token_id);
    result.top_logprobs = logprobs.best(params.logprobs);
  }
  return result;
}

void check_winner(ScoredToken winner, const SamplingInput& input) {
  const std::string where = "sequence " + std::to_string(input.sequence_id) + ", position " +
                            std::to_string(input.position) + ": ";
  if (winner.token_id < 0) throw Error(where + "no token has a finite logit");
  if (!std::isfinite(winner.score)) {
    throw Error(where + "the logit of token " + std::to_string(winner.token_id) + " is infinite");
  }
}

}  // namespace lockstep::shard

#include "shard/token_selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <vector>

#include "base/error.h"
#include "tests/shard/sampling_fixture.h"

namespace lockstep::shard {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr float kInfinity = std::numeric_limits<float>::infinity();

// The search without shortcuts.
ScoredToken plain_best(std::span<const float> logits, VocabRange range,
                       const SamplingInput& input) {
  ScoredToken best;
  for (std::int32_t id = range.begin; id < range.end; ++id) {
    const float logit = logits[static_cast<std::size_t>(id - range.begin)];
    if (!(logit > -kInfinity)) continue;
    const ScoredToken token{is_greedy(*input.params) ? logit : noisy_score(logit, id, input), id};
    if (wins(token, best)) best = token;
  }
  return best;
}

TEST(Wins, TheHigherScoreThenTheLowerIdAndNeverNoToken) {
  EXPECT_TRUE(wins({2.0f, 9}, {1.0f, 3}));
  EXPECT_FALSE(wins({1.0f, 3}, {2.0f, 9}));
  EXPECT_TRUE(wins({1.0f, 3}, {1.0f, 9}));
  EXPECT_FALSE(wins({1.0f, 9}, {1.0f, 3}));
  EXPECT_TRUE(wins({-1e30f, 3}, {}));
  EXPECT_FALSE(wins({}, {-1e30f, 3}));
  EXPECT_FALSE(wins({}, {}));
}

TEST(BestToken, GreedyTakesTheLargestLogitAndTheLowestIdAmongEquals) {
  comm::SamplingParams params;
  const SamplingInput input{.params = &params};
  for (const std::size_t size : {1, 2, 127, 128, 129, 1000, 49152}) {
    std::vector<float> row = random_row(size, size);
    const auto largest = std::max_element(row.begin(), row.end()) - row.begin();
    EXPECT_EQ(best_token(row, whole(row), input).token_id, largest);
    row.back() = row[static_cast<std::size_t>(largest)];
    EXPECT_EQ(best_token(row, whole(row), input).token_id, largest);
  }
  const std::vector<float> zeros = {-1.0f, -0.0f, 0.0f};
  EXPECT_EQ(best_token(zeros, {5, 8}, input).token_id, 6);
}

TEST(BestToken, NeverTakesNaNAndTakesNothingWhereNothingIsPossible) {
  for (const float temperature : {0.0f, 1.0f}) {
    comm::SamplingParams params = params_of({.temperature = temperature});
    const SamplingInput input{.params = &params};
    std::vector<float> row(300, std::nanf(""));
    row[7] = -kInfinity;
    EXPECT_EQ(best_token(row, whole(row), input).token_id, -1);
    row[250] = -5.0f;
    EXPECT_EQ(best_token(row, whole(row), input).token_id, 250);
    EXPECT_EQ(best_token({}, {3, 3}, input).token_id, -1);
  }
}

TEST(BestToken, TheNoisySearchEqualsTheSearchWithoutShortcuts) {
  comm::SamplingParams params;
  for (const float temperature : {1e-4f, 0.1f, 0.7f, 1.0f, 2.0f, 100.0f}) {
    for (const float deviation : {0.0f, 1e-6f, 0.01f, 1.0f, 3.0f, 30.0f, 1e6f}) {
      for (std::uint64_t seed = 0; seed < 12; ++seed) {
        params.temperature = temperature;
        params.seed = seed * 0x123456789ABCDEF;
        const std::vector<float> row = random_row(3001, seed, deviation);
        const SamplingInput input{.params = &params, .position = static_cast<std::int32_t>(seed)};
        const VocabRange range{1000, 4001};
        const ScoredToken expected = plain_best(row, range, input);
        const ScoredToken actual = best_token(row, range, input);
        ASSERT_EQ(actual.token_id, expected.token_id) << temperature << " " << deviation;
        ASSERT_EQ(actual.score, expected.score);
      }
    }
  }
}

TEST(BestToken, TheWinnerOfARowIsTheWinnerAmongItsPartsWinners) {
  comm::SamplingParams params = params_of({.temperature = 0.8f});
  const std::vector<float> row = random_row(2000, 3);
  for (std::int32_t position = 0; position < 200; ++position) {
    const SamplingInput input{.params = &params, .position = position};
    ScoredToken best;
    for (const VocabRange part : {VocabRange{0, 1}, VocabRange{1, 777}, VocabRange{777, 2000}}) {
      const auto logits = std::span(row).subspan(static_cast<std::size_t>(part.begin),
                                                 static_cast<std::size_t>(part.end - part.begin));
      const ScoredToken token = best_token(logits, part, input);
      if (wins(token, best)) best = token;
    }
    ASSERT_EQ(best.token_id, best_token(row, whole(row), input).token_id);
  }
}

// The number of draws of each token against the softmax, by Pearson's chi-square.
double chi_square(const std::vector<float>& logits, comm::SamplingParams params, int draws,
                  bool vary_seed) {
  const std::vector<double> expected = softmax(logits, params.temperature);
  std::vector<int> counts(logits.size());
  for (int i = 0; i < draws; ++i) {
    if (vary_seed) params.seed = static_cast<std::uint64_t>(i);
    const SamplingInput input{.params = &params, .position = vary_seed ? 17 : i};
    ++counts[static_cast<std::size_t>(best_token(logits, whole(logits), input).token_id)];
  }
  double sum = 0.0;
  for (std::size_t id = 0; id < logits.size(); ++id) {
    const double mean = expected[id] * draws;
    sum += (counts[id] - mean) * (counts[id] - mean) / mean;
  }
  return sum;
}

TEST(BestToken, DrawsFollowTheSoftmaxOverPositionsAndOverSeeds) {
  std::vector<float> logits(40);
  for (std::size_t id = 0; id < logits.size(); ++id) {
    logits[id] = std::sin(static_cast<float>(id));
  }
  // 39 degrees of freedom: chi-square exceeds 72.1 with probability 0.001.
  for (const float temperature : {0.5f, 1.0f, 3.0f}) {
    const comm::SamplingParams params = params_of({.temperature = temperature, .seed = 1234});
    EXPECT_LT(chi_square(logits, params, 100000, false), 72.1) << temperature;
    EXPECT_LT(chi_square(logits, params, 100000, true), 72.1) << temperature;
  }
}

TEST(BestToken, ReplaysWithTheSameSeedAndDiffersWithAnother) {
  const std::vector<float> row = random_row(1000, 5, 1.0f);
  const auto answer = [&](std::uint64_t seed) {
    comm::SamplingParams params = params_of({.temperature = 1.0f, .seed = seed});
    std::vector<std::int32_t> tokens;
    for (std::int32_t position = 0; position < 50; ++position) {
      tokens.push_back(
          best_token(row, whole(row), {.params = &params, .position = position}).token_id);
    }
    return tokens;
  };
  EXPECT_EQ(answer(1), answer(1));
  EXPECT_NE(answer(1), answer(2));
  EXPECT_NE(answer(1), answer(1 + (1ull << 40)));
}

// vLLM's definitions, written out over dense counts.
std::vector<float> plain_modified(std::vector<float> row, const comm::SamplingParams& params,
                                  const std::vector<std::int32_t>& prompt,
                                  const std::vector<std::int32_t>& answer) {
  std::map<std::int32_t, int> in_answer;
  for (const std::int32_t id : answer) ++in_answer[id];
  for (std::int32_t id = 0; id < static_cast<std::int32_t>(row.size()); ++id) {
    float& logit = row[static_cast<std::size_t>(id)];
    for (const auto& [biased, bias] : params.logit_bias) {
      if (biased == id) logit += bias;
    }
    if (static_cast<int>(answer.size()) < params.min_tokens &&
        std::count(params.stop_token_ids.begin(), params.stop_token_ids.end(), id) > 0) {
      logit = -kInfinity;
    }
    const int times = in_answer.contains(id) ? in_answer[id] : 0;
    if (times > 0 || std::count(prompt.begin(), prompt.end(), id) > 0) {
      logit = logit > 0 ? logit / params.repetition_penalty : logit * params.repetition_penalty;
    }
    logit -= params.frequency_penalty * static_cast<float>(times);
    if (times > 0) logit -= params.presence_penalty;
  }
  return row;
}

TEST(ModifyLogits, EqualsThePlainDefinitionOverAnyRange) {
  const std::vector<std::int32_t> prompt = {3, 3, 9, 14, 20, 20, 20};
  const std::vector<std::int32_t> answer = {9, 1, 1, 20, 1};
  TokenCounts counts;
  for (const std::int32_t id : prompt) counts.add_prompt_token(id);
  for (const std::int32_t id : answer) counts.add_answer_token(id);
  const std::vector<float> row = random_row(24, 8);

  std::vector<comm::SamplingParams> cases(5);
  cases[0].repetition_penalty = 1.3f;
  cases[1].presence_penalty = 0.7f;
  cases[2].frequency_penalty = -0.4f;
  cases[3] =
      params_of({.repetition_penalty = 0.8f, .presence_penalty = 1.5f, .frequency_penalty = 0.3f});
  cases[4].repetition_penalty = 1.1f;
  cases[4].logit_bias = {{0, 5.0f}, {9, -100.0f}, {23, 0.5f}};
  cases[4].stop_token_ids = {2, 9, 22};
  cases[4].min_tokens = 6;
  for (const comm::SamplingParams& params : cases) {
    const SamplingInput input{.params = &params, .counts = &counts, .num_answer_tokens = 5};
    const std::vector<float> expected = plain_modified(row, params, prompt, answer);
    std::vector<float> actual = row;
    modify_logits(actual, whole(actual), input);
    EXPECT_EQ(actual, expected);

    std::vector<float> parts = row;
    for (const VocabRange part : {VocabRange{0, 9}, VocabRange{9, 10}, VocabRange{10, 24}}) {
      modify_logits(std::span(parts).subspan(static_cast<std::size_t>(part.begin),
                                             static_cast<std::size_t>(part.end - part.begin)),
                    part, input);
    }
    EXPECT_EQ(parts, expected);
  }
}

TEST(ModifyLogits, StopTokensComeBackOnceTheAnswerIsLongEnough) {
  const comm::SamplingParams params = params_of({.min_tokens = 3, .stop_token_ids = {1}});
  for (const std::int32_t length : {0, 2, 3, 4}) {
    std::vector<float> row = {0.0f, 1.0f};
    modify_logits(row, whole(row), {.params = &params, .num_answer_tokens = length});
    EXPECT_EQ(row[1], length < 3 ? -kInfinity : 1.0f) << length;
  }
}

TEST(SelectToken, ChoosesLikeBestTokenWithOrWithoutLogprobs) {
  const std::vector<float> row = random_row(5000, 21, 2.0f);
  for (const float temperature : {0.0f, 0.9f}) {
    for (std::int32_t position = 0; position < 100; ++position) {
      comm::SamplingParams params = params_of({.temperature = temperature, .seed = 77});
      const SamplingInput input{.sequence_id = 5, .params = &params, .position = position};
      const std::int32_t expected = best_token(row, whole(row), input).token_id;
      EXPECT_EQ(select_token(row, input).token_id, expected);
      params.logprobs = 3;
      EXPECT_EQ(select_token(row, input).token_id, expected);
      EXPECT_EQ(select_token(row, input).sequence_id, 5u);
    }
  }
}

TEST(SelectToken, LogprobsAreOfTheUnmodifiedDistribution) {
  const std::vector<float> row = random_row(3000, 31);
  const std::vector<double> p = softmax(row);
  comm::SamplingParams params = params_of({.temperature = 0.5f, .top_k = 2, .logprobs = 20});
  params.logit_bias = {{2718, 90.0f}};
  const comm::SampledToken token = select_token(row, {.params = &params});
  EXPECT_EQ(token.token_id, 2718);
  EXPECT_NEAR(token.logprob, std::log(p[2718]), 1e-6);

  std::vector<std::int32_t> ids(row.size());
  for (std::size_t i = 0; i < ids.size(); ++i) ids[i] = static_cast<std::int32_t>(i);
  std::stable_sort(ids.begin(), ids.end(), [&](auto a, auto b) {
    return row[static_cast<std::size_t>(a)] > row[static_cast<std::size_t>(b)];
  });
  ASSERT_EQ(token.top_logprobs.size(), 20u);
  for (std::size_t i = 0; i < 20; ++i) {
    EXPECT_EQ(token.top_logprobs[i].token_id, ids[i]);
    EXPECT_NEAR(token.top_logprobs[i].logprob, std::log(p[static_cast<std::size_t>(ids[i])]), 1e-5);
  }
}

TEST(SelectToken, NoLogprobsUnlessAskedForAndOnlyTheTokensOwnForZero) {
  const std::vector<float> row = random_row(100, 4);
  comm::SamplingParams params;
  EXPECT_EQ(select_token(row, {.params = &params}).logprob, 0.0f);
  params.logprobs = 0;
  EXPECT_LT(select_token(row, {.params = &params}).logprob, 0.0f);
  EXPECT_TRUE(select_token(row, {.params = &params}).top_logprobs.empty());
}

// With the limits of comm/sampling_fields.h.
TEST(SelectToken, NoRequestMakesALogitInfinite) {
  TokenCounts counts;
  for (const std::int32_t id : {0, 1}) counts.add_answer_token(id);
  for (const float repetition_penalty : {0.01f, 100.0f}) {
    for (const float temperature : {0.0f, kGreedyBelow, 100.0f}) {
      comm::SamplingParams params = params_of({.temperature = temperature,
                                               .repetition_penalty = repetition_penalty,
                                               .presence_penalty = -2.0f,
                                               .frequency_penalty = -2.0f});
      params.logit_bias = {{0, 100.0f}, {1, -100.0f}};
      for (const float logit : {-1e30f, 0.0f, 1e30f}) {
        const std::vector<float> row = {logit, -logit};
        const SamplingInput input{.params = &params, .counts = &counts, .num_answer_tokens = 2};
        EXPECT_NO_THROW(select_token(row, input)) << logit << " " << temperature;
      }
    }
  }
}

TEST(SelectToken, NamesTheSequenceWhenNothingCanBeChosen) {
  const comm::SamplingParams params = params_of({.temperature = 1.0f, .top_k = 3});
  const SamplingInput input{.sequence_id = 42, .params = &params, .position = 6};
  const std::vector<float> nothing(10, -kInfinity);
  EXPECT_THAT([&] { select_token(nothing, input); },
              ThrowsMessage<Error>(HasSubstr("sequence 42, position 6: no token has a finite")));
  const std::vector<float> infinite = {0.0f, kInfinity};
  EXPECT_THAT([&] { select_token(infinite, input); },
              ThrowsMessage<Error>(HasSubstr("the logit of token 1 is infinite")));
}

}  // namespace
}  // namespace lockstep::shard

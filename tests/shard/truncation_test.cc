#include "shard/truncation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <vector>

#include "shard/ranked_tokens.h"
#include "tests/shard/sampling_fixture.h"

namespace lockstep::shard {
namespace {

std::vector<std::int32_t> ranked_ids(const std::vector<float>& row) {
  std::vector<std::int32_t> ids(row.size());
  std::iota(ids.begin(), ids.end(), 0);
  std::erase_if(ids, [&](std::int32_t id) {
    return !(row[static_cast<std::size_t>(id)] > -std::numeric_limits<float>::infinity());
  });
  std::stable_sort(ids.begin(), ids.end(), [&](std::int32_t a, std::int32_t b) {
    return row[static_cast<std::size_t>(a)] > row[static_cast<std::size_t>(b)];
  });
  return ids;
}

// vLLM's way: mask, renormalise, mask again, over a fully sorted row.
std::vector<std::int32_t> plain_kept(const std::vector<float>& row,
                                     const comm::SamplingParams& params) {
  const std::vector<double> p = softmax(row, params.temperature);
  const std::vector<std::int32_t> ids = ranked_ids(row);
  const auto at = [&](std::int32_t id) { return p[static_cast<std::size_t>(id)]; };
  std::vector<std::int32_t> kept;
  for (const std::int32_t id : ids) {
    if (at(id) >= params.min_p * at(ids[0])) kept.push_back(id);
  }
  if (params.top_k > 0 && kept.size() > static_cast<std::size_t>(params.top_k)) {
    kept.resize(static_cast<std::size_t>(params.top_k));
  }
  if (params.top_p >= 1.0f) return kept;
  double sum = 0.0;
  for (const std::int32_t id : kept) sum += at(id);
  // From the worst up: a token goes while it and those below it hold at most 1 - top_p.
  double below = 0.0;
  while (kept.size() > 1) {
    below += at(kept.back()) / sum;
    if (below > 1.0 - params.top_p) break;
    kept.pop_back();
  }
  return kept;
}

TEST(KeptTokens, EqualThePlainDefinition) {
  for (const float deviation : {0.5f, 3.0f, 20.0f}) {
    for (const float temperature : {0.3f, 1.0f, 2.0f}) {
      for (const int top_k : {0, 1, 7, 300, 5000}) {
        for (const float top_p : {1.0f, 0.95f, 0.5f, 0.013f}) {
          for (const float min_p : {0.0f, 0.02f, 0.6f}) {
            comm::SamplingParams params = params_of(
                {.temperature = temperature, .top_p = top_p, .top_k = top_k, .min_p = min_p});
            if (!has_truncation(params)) continue;
            const std::vector<float> row = random_row(2500, 11, deviation);
            ASSERT_EQ(kept_tokens(row, params), plain_kept(row, params))
                << "deviation " << deviation << " temperature " << temperature << " top_k " << top_k
                << " top_p " << top_p << " min_p " << min_p;
          }
        }
      }
    }
  }
}

TEST(KeptTokens, LowerIdsAreKeptAmongEquals) {
  const std::vector<float> row = {1.0f, 2.0f, 2.0f, 2.0f, -0.0f, 0.0f};
  const comm::SamplingParams two = params_of({.temperature = 1.0f, .top_k = 2});
  EXPECT_EQ(kept_tokens(row, two), (std::vector<std::int32_t>{1, 2}));
  const comm::SamplingParams five = params_of({.temperature = 1.0f, .top_k = 5});
  EXPECT_EQ(kept_tokens(row, five), (std::vector<std::int32_t>{1, 2, 3, 0, 4}));
}

TEST(KeptTokens, AtLeastOneIsKeptAndNeverAnImpossibleOne) {
  const float impossible = -std::numeric_limits<float>::infinity();
  const std::vector<float> row = {impossible, std::nanf(""), -3.0f, impossible, -4.0f};
  const comm::SamplingParams tiny = params_of({.temperature = 1.0f, .top_p = 1e-30f});
  EXPECT_EQ(kept_tokens(row, tiny), (std::vector<std::int32_t>{2}));
  const comm::SamplingParams many = params_of({.temperature = 1.0f, .top_k = 4});
  EXPECT_EQ(kept_tokens(row, many), (std::vector<std::int32_t>{2, 4}));
}

TEST(KeptTokens, DrawsStayWithinThemAndFollowTheirProbabilities) {
  const std::vector<float> row = random_row(200, 9, 0.8f);
  comm::SamplingParams params = params_of({.temperature = 0.9f, .top_p = 0.8f, .top_k = 12});
  const std::vector<std::int32_t> kept = plain_kept(row, params);
  ASSERT_GT(kept.size(), 3u);
  std::vector<float> kept_logits;
  for (const std::int32_t id : kept) kept_logits.push_back(row[static_cast<std::size_t>(id)]);
  const std::vector<double> p = softmax(kept_logits, params.temperature);
  std::vector<int> counts(kept.size());
  constexpr int kDraws = 20000;
  for (std::int32_t position = 0; position < kDraws; ++position) {
    const auto id = select_token(row, {.params = &params, .position = position}).token_id;
    const auto place = std::find(kept.begin(), kept.end(), id);
    ASSERT_NE(place, kept.end());
    ++counts[static_cast<std::size_t>(place - kept.begin())];
  }
  for (std::size_t i = 0; i < kept.size(); ++i) {
    EXPECT_NEAR(counts[i], kDraws * p[i], 4.5 * std::sqrt(kDraws * p[i])) << kept[i];
  }
}

TEST(RankedTokens, EqualAStableSortToTheLastToken) {
  for (const float deviation : {0.0f, 1e-3f, 3.0f, 1e8f}) {
    std::vector<float> row = random_row(3000, 13, deviation);
    row[5] = std::nanf("");
    row[2999] = -std::numeric_limits<float>::infinity();
    const std::vector<std::int32_t> expected = ranked_ids(row);
    RankedTokens ranked(row);
    for (std::size_t rank = 0; rank < expected.size(); ++rank) {
      ASSERT_EQ(ranked.at(rank), expected[rank]) << deviation << " " << rank;
    }
    EXPECT_EQ(ranked.at(expected.size()), -1);
  }
}

}  // namespace
}  // namespace lockstep::shard

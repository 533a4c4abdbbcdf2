// The CUDA kernels that cut tokens off and draw among the rest, bit for bit against the CPU's.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>

#include "kernels/cuda/truncation.h"
#include "kernels/ranking_key.h"
#include "shard/gpu/sampling_lists.h"
#include "shard/truncation.h"
#include "tests/kernels/cuda/test_gpu.h"
#include "tests/shard/sampling_fixture.h"

namespace lockstep::shard {
namespace {

namespace cuda = kernels::cuda;

constexpr float kImpossible = -std::numeric_limits<float>::infinity();

struct Row {
  std::vector<float> logits;
  comm::SamplingParams params;
};

struct Chosen {
  std::vector<std::vector<std::int32_t>> kept;  // ascending
  std::vector<ScoredToken> winners;
};

// Rows of equal lengths. Winners come out in the reverse order of the rows.
Chosen on_gpu(const std::vector<Row>& rows) {
  const std::size_t vocabulary = rows[0].logits.size();
  std::vector<float> logits;
  std::vector<cuda::RowTruncation> truncation;
  std::vector<std::int32_t> places;
  SamplingLists lists(100);
  for (const Row& row : rows) {
    logits.insert(logits.end(), row.logits.begin(), row.logits.end());
    truncation.push_back({.temperature = row.params.temperature,
                          .least_distance = least_distance(row.params.min_p),
                          .top_p = row.params.top_p,
                          .top_k = row.params.top_k});
    places.push_back(static_cast<std::int32_t>(rows.size() - places.size()) - 1);
    lists.add({.params = &row.params, .position = 7});
  }
  cuda::TestGpu memory;
  const cuda::TruncationArgs args{.logits = memory.variable(logits, "logits"),
                                  .logits_stride = static_cast<std::int64_t>(vocabulary),
                                  .truncation = memory.constant(truncation, "truncation"),
                                  .cuts = memory.blank<std::uint64_t>(rows.size(), "cuts"),
                                  .vocabulary = static_cast<std::int32_t>(vocabulary),
                                  .rows = static_cast<std::int32_t>(rows.size())};
  memory.gpu().run(args);
  const auto slices = static_cast<std::size_t>(cuda::choice_slices(0, args.vocabulary));
  const cuda::TokenChoiceArgs choice{
      .logits = const_cast<float*>(args.logits),
      .logits_stride = args.logits_stride,
      .sampling =
          memory.constant(std::vector(lists.rows().begin(), lists.rows().end()), "sampling"),
      .listed = nullptr,
      .sampled = nullptr,
      .cuts = args.cuts,
      .places = memory.constant(places, "places"),
      .candidates = memory.blank<ScoredToken>(rows.size() * slices, "candidates"),
      .winners = memory.blank<ScoredToken>(rows.size(), "winners"),
      .begin_token = 0,
      .end_token = args.vocabulary,
      .rows = args.rows};
  memory.gpu().choose_tokens(choice);
  Chosen chosen{{}, memory.values(choice.winners)};
  std::ranges::reverse(chosen.winners);
  const auto cuts = memory.values(args.cuts);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    auto& kept = chosen.kept.emplace_back();
    for (std::int32_t token = 0; token < args.vocabulary; ++token) {
      const float logit = rows[row].logits[static_cast<std::size_t>(token)];
      if (logit > kImpossible && kernels::ranking_key(logit, token) <= cuts[row]) {
        kept.push_back(token);
      }
    }
  }
  return chosen;
}

void expect_the_cpus(const std::vector<Row>& rows) {
  const Chosen chosen = on_gpu(rows);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    const comm::SamplingParams& params = rows[row].params;
    SCOPED_TRACE(testing::Message()
                 << "row " << row << ": temperature " << params.temperature << " top_k "
                 << params.top_k << " top_p " << params.top_p << " min_p " << params.min_p);
    auto kept = kept_tokens(rows[row].logits, params);
    std::ranges::sort(kept);
    EXPECT_EQ(chosen.kept[row], kept);
    const SamplingInput input{.params = &params, .position = 7};
    const std::int32_t winner = select_token(rows[row].logits, input).token_id;
    EXPECT_EQ(chosen.winners[row].token_id, winner);
    const float score =
        noisy_score(rows[row].logits[static_cast<std::size_t>(winner)], winner, input);
    EXPECT_EQ(std::memcmp(&chosen.winners[row].score, &score, sizeof score), 0);
  }
}

class CudaTruncation : public cuda::OnTestGpu {};

TEST_F(CudaTruncation, KeepsTheCpusTokensAndDrawsTheCpusToken) {
  for (const float deviation : {0.3f, 3.0f, 20.0f}) {
    std::vector<Row> rows;
    for (const int top_k : {0, 40, 5000}) {
      for (const float top_p : {1.0f, 0.9f, 1e-30f}) {
        for (const float min_p : {0.0f, 0.01f}) {
          const auto seed = rows.size();
          const comm::SamplingParams params =
              params_of({.temperature = 0.5f + 0.3f * static_cast<float>(seed % 4),
                         .top_p = top_p,
                         .top_k = top_k,
                         .min_p = min_p,
                         .seed = seed});
          if (has_truncation(params)) rows.push_back({random_row(4500, seed, deviation), params});
        }
      }
    }
    expect_the_cpus(rows);
  }
}

// Cuts among equal logits fall by ids, far apart.
TEST_F(CudaTruncation, CutsAmongEqualsAsTheCpu) {
  std::vector<Row> rows;
  const std::size_t vocabulary = 4500;
  for (const int which : {0, 1, 2}) {
    std::vector<float> row = random_row(vocabulary, 3);
    for (std::size_t token = 0; token < vocabulary; ++token) {
      if (which == 0) row[token] = std::round(row[token]);
      if (which == 1) row[token] = token % 3 == 0 ? 0.0f : -0.0f;
      if (which == 2 && token % 1000 == 7) row[token] = 30.0f;
    }
    for (const Sampling& sampling :
         {Sampling{.top_k = 3}, Sampling{.top_k = 2900}, Sampling{.top_p = 0.5f},
          Sampling{.top_p = 0.999f}, Sampling{.top_p = 0.7f, .top_k = 100},
          Sampling{.min_p = 1.0f}}) {
      Sampling warm = sampling;
      warm.temperature = 0.8f;
      rows.push_back({row, params_of(warm)});
    }
  }
  expect_the_cpus(rows);
}

TEST_F(CudaTruncation, LeavesImpossibleTokensOut) {
  std::vector<float> row(300, kImpossible);
  row[17] = std::nanf("");
  row[30] = -3.0f;
  row[211] = -4.0f;
  expect_the_cpus({{row, params_of({.temperature = 1.0f, .top_k = 100})},
                   {row, params_of({.temperature = 1.0f, .top_p = 0.5f})},
                   {row, params_of({.temperature = 1.0f, .top_p = 0.999f, .min_p = 1e-9f})}});
  const Chosen none = on_gpu(
      {{std::vector<float>(300, kImpossible), params_of({.temperature = 1.0f, .top_k = 3})}});
  EXPECT_TRUE(none.kept[0].empty());
  EXPECT_EQ(none.winners[0].token_id, -1);
}

// Where quotients are too large for numbers any cut will do, if only it is found.
TEST_F(CudaTruncation, EndsWhereTheTemperatureMakesLogitsInfinite) {
  std::vector<float> row = random_row(300, 1);
  row[5] = 3e38f;
  const comm::SamplingParams params = params_of({.temperature = 0.01f, .top_p = 0.5f, .top_k = 9});
  const Chosen chosen = on_gpu({{row, params}});
  EXPECT_TRUE(std::isinf(chosen.winners[0].score));  // which the host refuses
}

TEST_F(CudaTruncation, OfOneTokenKeepsIt) {
  expect_the_cpus({{{1.5f}, params_of({.temperature = 1.0f, .top_p = 0.5f})},
                   {{-1.5f}, params_of({.temperature = 1.0f, .top_k = 1})}});
}

}  // namespace
}  // namespace lockstep::shard

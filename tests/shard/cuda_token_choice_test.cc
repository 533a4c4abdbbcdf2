// The CUDA kernels that choose tokens, bit for bit against the CPU's choice.
#include <gtest/gtest.h>

#include <cstring>
#include <limits>

#include "kernels/cuda/token_choice.h"
#include "shard/gpu/sampling_lists.h"
#include "tests/kernels/cuda/test_gpu.h"
#include "tests/shard/sampling_fixture.h"

namespace lockstep::shard {
namespace {

namespace cuda = kernels::cuda;

// A row with all that its choice depends on.
struct Row {
  std::vector<float> logits;  // of the whole vocabulary
  comm::SamplingParams params;
  TokenCounts counts = {};
  std::int32_t position = 0;
  std::int32_t num_answer_tokens = 0;
  std::int32_t sampled_row = -1;

  SamplingInput input() const {
    return {.params = &params,
            .counts = &counts,
            .sampled_row = sampled_row,
            .num_answer_tokens = num_answer_tokens,
            .position = position};
  }
};

struct Chosen {
  std::vector<std::vector<float>> logits;  // modified
  std::vector<ScoredToken> winners;
};

// What a rank's GPU makes of the tokens in `range`.
Chosen on_gpu(const std::vector<Row>& rows, VocabRange range,
              const std::vector<ScoredToken>& sampled = {}) {
  const auto size = static_cast<std::size_t>(range.end - range.begin);
  std::vector<float> logits;
  SamplingLists lists(1 << 16);
  for (const Row& row : rows) {
    logits.insert(logits.end(), row.logits.begin() + range.begin, row.logits.begin() + range.end);
    EXPECT_TRUE(lists.add(row.input()));
  }
  const auto slices = static_cast<std::size_t>(cuda::choice_slices(range.begin, range.end));
  const auto vector = [](auto span) { return std::vector(span.begin(), span.end()); };
  cuda::TestGpu memory;
  const cuda::TokenChoiceArgs args{
      .logits = memory.variable(logits, "logits"),
      .logits_stride = static_cast<std::int64_t>(size),
      .sampling = memory.constant(vector(lists.rows()), "sampling"),
      .listed = memory.constant(vector(lists.listed()), "listed"),
      .sampled = memory.constant(sampled, "sampled"),
      .cuts = nullptr,
      .places = nullptr,
      .candidates = memory.blank<ScoredToken>(rows.size() * slices, "candidates"),
      .winners = memory.blank<ScoredToken>(rows.size(), "winners"),
      .begin_token = range.begin,
      .end_token = range.end,
      .rows = static_cast<std::int32_t>(rows.size())};
  memory.gpu().modify_logits(args);
  memory.gpu().choose_tokens(args);
  Chosen chosen{{}, memory.values(args.winners)};
  const auto modified = memory.values(args.logits);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto first = modified.begin() + static_cast<std::ptrdiff_t>(i * size);
    chosen.logits.emplace_back(first, first + static_cast<std::ptrdiff_t>(size));
  }
  return chosen;
}

// That the GPU leaves the CPU's bits for the whole vocabulary and for parts of it.
void expect_the_cpus_choice(const std::vector<Row>& rows) {
  const auto vocabulary = static_cast<std::int32_t>(rows[0].logits.size());
  for (const VocabRange range :
       {VocabRange{0, vocabulary}, {0, vocabulary / 3}, {vocabulary / 3, vocabulary - 1}}) {
    const Chosen chosen = on_gpu(rows, range);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      std::vector<float> logits(rows[i].logits.begin() + range.begin,
                                rows[i].logits.begin() + range.end);
      modify_logits(logits, range, rows[i].input());
      EXPECT_EQ(std::memcmp(chosen.logits[i].data(), logits.data(), 4 * logits.size()), 0) << i;
      const ScoredToken winner = best_token(logits, range, rows[i].input());
      EXPECT_EQ(chosen.winners[i].token_id, winner.token_id) << i;
      EXPECT_EQ(std::memcmp(&chosen.winners[i].score, &winner.score, 4), 0) << i;
    }
  }
}

class CudaTokenChoice : public cuda::OnTestGpu {};

TEST_F(CudaTokenChoice, GreedyIsTheCpus) {
  std::vector<Row> rows;
  for (std::uint64_t i = 0; i < 3; ++i) rows.push_back({random_row(9001, i), params_of({})});
  rows[1].logits[4000] = rows[1].logits[8000] = 50.0f;  // equals
  rows[2].logits[77] = std::nanf("");
  expect_the_cpus_choice(rows);
}

TEST_F(CudaTokenChoice, DrawsAreTheCpus) {
  std::vector<Row> rows;
  for (std::uint64_t i = 0; i < 12; ++i) {
    Row row{random_row(9001, i, i % 2 == 0 ? 3.0f : 0.01f),
            params_of({.temperature = 0.2f + 0.3f * static_cast<float>(i),
                       .seed = 0x123456789abcdefu * (i + 1)})};
    row.position = static_cast<std::int32_t>(1000 * i);
    rows.push_back(row);
  }
  expect_the_cpus_choice(rows);
}

TEST_F(CudaTokenChoice, ModifiedLogitsAreTheCpus) {
  Row row{random_row(700, 1), params_of({.temperature = 0.7f,
                                         .repetition_penalty = 1.3f,
                                         .presence_penalty = 0.3f,
                                         .frequency_penalty = 0.17f,
                                         .seed = 5,
                                         .min_tokens = 10,
                                         .stop_token_ids = {0, 233, 234, 699},
                                         .logit_bias = {{3, 1.5f}, {233, 2.0f}, {500, -100.0f}}})};
  for (std::int32_t token = 0; token < 700; token += 3) row.counts.add_prompt_token(token);
  for (std::int32_t token = 0; token < 700; token += 5) row.counts.add_answer_token(token);
  for (std::int32_t token = 0; token < 700; token += 10) row.counts.add_answer_token(token);
  row.num_answer_tokens = 9;
  Row later = row;
  later.num_answer_tokens = 10;
  expect_the_cpus_choice({row, later, {random_row(700, 2), params_of({.temperature = 1.0f})}});
}

// Whether it was in the answer, in the prompt alone, or nowhere, and whoever's token it is.
TEST_F(CudaTokenChoice, PenaltiesCountATokenThatTheStepBeforeHasChosen) {
  Row row{random_row(700, 1), params_of({.temperature = 0.7f,
                                         .repetition_penalty = 1.3f,
                                         .presence_penalty = 0.3f,
                                         .frequency_penalty = 0.17f})};
  for (std::int32_t token = 0; token < 700; token += 3) row.counts.add_prompt_token(token);
  for (std::int32_t token = 0; token < 700; token += 5) row.counts.add_answer_token(token);
  const std::vector<ScoredToken> sampled = {{1.0f, 15}, {1.0f, 3}, {1.0f, 601}, {}};
  std::vector<Row> known, unknown;
  for (std::int32_t i = 0; i < 4; ++i) {
    unknown.push_back(row);
    unknown.back().sampled_row = i;
    known.push_back(row);
    const std::int32_t token = sampled[static_cast<std::size_t>(i)].token_id;
    if (token >= 0) known.back().counts.add_answer_token(token);
  }
  for (const VocabRange range : {VocabRange{0, 700}, VocabRange{0, 300}, VocabRange{300, 700}}) {
    const Chosen expected = on_gpu(known, range), chosen = on_gpu(unknown, range, sampled);
    EXPECT_EQ(chosen.logits, expected.logits);
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(chosen.winners[i].token_id, expected.winners[i].token_id) << i;
    }
  }
}

TEST_F(CudaTokenChoice, FindsTheBestOfTheWinnersOfRanks) {
  const std::vector<ScoredToken> winners = {{1.0f, 5}, {2.0f, 4},  {}, {},  //
                                            {3.0f, 9}, {2.0f, 30}, {}, {},  //
                                            {},        {},         {}, {-9.0f, 50}};
  cuda::TestGpu memory;
  const cuda::RankWinnersArgs args{.winners = memory.constant(winners, "winners"),
                                   .chosen = memory.blank<ScoredToken>(4, "chosen"),
                                   .ranks = 3,
                                   .rows = 4};
  memory.gpu().run(args);
  std::vector<std::int32_t> tokens;
  for (const ScoredToken& token : memory.values(args.chosen)) tokens.push_back(token.token_id);
  EXPECT_EQ(tokens, (std::vector<std::int32_t>{9, 4, -1, 50}));
}

TEST_F(CudaTokenChoice, ThereIsNoWinnerAmongImpossibleTokens) {
  const std::vector<float> logits(100, -std::numeric_limits<float>::infinity());
  const auto chosen =
      on_gpu({{logits, params_of({})}, {logits, params_of({.temperature = 1.0f})}}, {0, 100});
  EXPECT_EQ(chosen.winners[0].token_id, -1);
  EXPECT_EQ(chosen.winners[1].token_id, -1);
}

}  // namespace
}  // namespace lockstep::shard

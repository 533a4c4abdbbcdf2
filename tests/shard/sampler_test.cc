#include "shard/sampler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <mutex>
#include <vector>

#include "base/error.h"
#include "tests/shard/sampling_fixture.h"

namespace lockstep::shard {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr std::chrono::seconds kDeadline{20};
constexpr std::size_t kVocabSize = 1543;

// Uneven ranges that cover the vocabulary; of more than three ranks the second has none.
std::vector<VocabRange> ranges_of(int world_size) {
  std::vector<VocabRange> ranges;
  std::int32_t begin = 0;
  for (int rank = 0; rank < world_size; ++rank) {
    const auto left = static_cast<std::int32_t>(kVocabSize) - begin;
    std::int32_t size = rank + 1 == world_size ? left : left / 3 + rank;
    if (world_size > 3 && rank == 1) size = 0;
    ranges.push_back({begin, begin + size});
    begin += size;
  }
  return ranges;
}

// A batch of every kind of row.
struct Batch {
  std::vector<comm::SamplingParams> params;
  std::vector<TokenCounts> counts;
  std::vector<std::vector<float>> rows;
  std::vector<SamplingInput> inputs;

  explicit Batch(std::size_t size) : params(size), counts(size) {
    const Sampling kinds[] = {
        {},
        {.temperature = 0.7f},
        {.temperature = 1.0f, .top_k = 5},
        {.temperature = 1.3f, .top_p = 0.9f, .logprobs = 2},
        {.logprobs = 20},
        {.temperature = 0.9f, .repetition_penalty = 1.2f, .frequency_penalty = 0.5f},
        {.repetition_penalty = 0.9f, .min_tokens = 9, .stop_token_ids = {2, 1000}},
        {.temperature = 1.0f, .min_p = 0.05f, .presence_penalty = 1.0f},
        {.logit_bias = {{1, 3.0f}, {700, 8.0f}}},
        {.temperature = 1.0f, .logprobs = 0},
    };
    for (std::size_t i = 0; i < size; ++i) {
      params[i] = params_of(kinds[i % std::size(kinds)]);
      params[i].seed = 1000 + i;
      for (std::int32_t t = 0; t < 40; ++t) {
        counts[i].add_prompt_token(t * 17);
        counts[i].add_answer_token(t * 31);
      }
      rows.push_back(random_row(kVocabSize, 500 + i, 2.0f));
      rows.back()[800] = rows.back()[3];  // an equal pair on different ranks
      if (is_greedy(params[i])) rows.back()[800] = rows.back()[3] = 10.0f;
      inputs.push_back({.sequence_id = i,
                        .params = &params[i],
                        .counts = &counts[i],
                        .num_answer_tokens = 4,
                        .position = static_cast<std::int32_t>(3 * i)});
    }
  }

  // The columns of `range` of the rows [begin, end).
  std::vector<float> local(VocabRange range, std::size_t begin, std::size_t end) const {
    std::vector<float> logits;
    for (std::size_t row = begin; row < end; ++row) {
      logits.insert(logits.end(), rows[row].begin() + range.begin, rows[row].begin() + range.end);
    }
    return logits;
  }
};

void expect_same(const comm::SampledToken& a, const comm::SampledToken& b) {
  EXPECT_EQ(a.sequence_id, b.sequence_id);
  EXPECT_EQ(a.token_id, b.token_id);
  EXPECT_EQ(a.logprob, b.logprob);  // bits, not nearly
  ASSERT_EQ(a.top_logprobs.size(), b.top_logprobs.size());
  for (std::size_t i = 0; i < a.top_logprobs.size(); ++i) {
    EXPECT_EQ(a.top_logprobs[i].token_id, b.top_logprobs[i].token_id);
    EXPECT_EQ(a.top_logprobs[i].logprob, b.top_logprobs[i].logprob);
  }
}

class SamplerWorlds : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Worlds, SamplerWorlds, testing::Values(1, 2, 3, 4, 8));

TEST_P(SamplerWorlds, EveryRankChoosesWhatTheWholeRowsGive) {
  const Batch batch(40);  // more rows with whole-row work than one gather takes
  std::vector<comm::SampledToken> expected;
  for (std::size_t row = 0; row < batch.rows.size(); ++row) {
    expected.push_back(select_token(batch.rows[row], batch.inputs[row]));
  }
  const std::vector<VocabRange> ranges = ranges_of(GetParam());
  std::mutex mutex;
  comm::spawn_ranks(GetParam(), kDeadline, [&](comm::Communicator& communicator) {
    const VocabRange mine = ranges[static_cast<std::size_t>(communicator.rank())];
    Sampler sampler(communicator, mine, ranges);
    for (int repetition = 0; repetition < 2; ++repetition) {
      std::vector<float> logits = batch.local(mine, 0, batch.rows.size());
      const auto sampled = sampler.sample(logits, batch.inputs);
      const std::lock_guard lock(mutex);
      ASSERT_EQ(sampled.size(), expected.size());
      for (std::size_t row = 0; row < sampled.size(); ++row) {
        SCOPED_TRACE(testing::Message() << "rank " << communicator.rank() << " row " << row);
        expect_same(sampled[row], expected[row]);
      }
    }
  });
}

TEST_P(SamplerWorlds, ARowsTokenDoesNotDependOnTheRowsBesideIt) {
  const Batch batch(20);
  const std::vector<VocabRange> ranges = ranges_of(GetParam());
  std::mutex mutex;
  comm::spawn_ranks(GetParam(), kDeadline, [&](comm::Communicator& communicator) {
    const VocabRange mine = ranges[static_cast<std::size_t>(communicator.rank())];
    Sampler sampler(communicator, mine, ranges);
    std::vector<float> logits = batch.local(mine, 0, 20);
    const auto together = sampler.sample(logits, batch.inputs);
    for (std::size_t begin = 0; begin < 20;) {
      const std::size_t end = std::min<std::size_t>(20, 2 * begin + 1);
      logits = batch.local(mine, begin, end);
      const auto apart =
          sampler.sample(logits, std::span(batch.inputs).subspan(begin, end - begin));
      const std::lock_guard lock(mutex);
      for (std::size_t row = begin; row < end; ++row)
        expect_same(apart[row - begin], together[row]);
      begin = end;
    }
  });
}

TEST(Sampler, NoRowsIsNoWork) {
  comm::spawn_ranks(2, kDeadline, [&](comm::Communicator& communicator) {
    const auto ranges = ranges_of(2);
    Sampler sampler(communicator, ranges[static_cast<std::size_t>(communicator.rank())], ranges);
    EXPECT_TRUE(sampler.sample({}, {}).empty());
  });
}

TEST(Sampler, AllRanksRefuseARowWithNothingToChoose) {
  const comm::SamplingParams params;
  const std::vector<SamplingInput> inputs = {{.sequence_id = 9, .params = &params}};
  comm::spawn_ranks(2, kDeadline, [&](comm::Communicator& communicator) {
    const std::vector<VocabRange> ranges = {{0, 2}, {2, 4}};
    Sampler sampler(communicator, ranges[static_cast<std::size_t>(communicator.rank())], ranges);
    std::vector<float> logits(2, -std::numeric_limits<float>::infinity());
    EXPECT_THAT([&] { sampler.sample(logits, inputs); },
                ThrowsMessage<Error>(HasSubstr("sequence 9")));
  });
}

TEST(Sampler, RefusesRangesThatDoNotTileTheVocabularyAndLogitsOfTheWrongSize) {
  comm::spawn_ranks(1, kDeadline, [&](comm::Communicator& communicator) {
    EXPECT_THAT(
        [&] {
          Sampler(communicator, {0, 5}, {{0, 5}, {5, 9}});
        },
        ThrowsMessage<Error>(HasSubstr("2 for 1 ranks")));
    EXPECT_THAT(
        [&] {
          Sampler(communicator, {1, 5}, {{1, 5}});
        },
        ThrowsMessage<Error>(HasSubstr("does not follow row 0")));
    EXPECT_THAT(
        [&] {
          Sampler(communicator, {0, 4}, {{0, 5}});
        },
        ThrowsMessage<Error>(HasSubstr("rank 0 differs")));
    Sampler sampler(communicator, {0, 5}, {{0, 5}});
    const comm::SamplingParams params;
    const std::vector<SamplingInput> inputs = {{.params = &params}};
    std::vector<float> logits(4);
    EXPECT_THAT([&] { sampler.sample(logits, inputs); },
                ThrowsMessage<Error>(HasSubstr("4 logits for 1 rows of 5")));
  });
}

}  // namespace
}  // namespace lockstep::shard

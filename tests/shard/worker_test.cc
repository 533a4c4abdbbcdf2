#include "shard/worker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "base/error.h"
#include "base/hash.h"
#include "tests/shard/sampling_fixture.h"

namespace lockstep::shard {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr std::chrono::seconds kDeadline{20};
constexpr MirrorLimits kLimits{.block_size = 4, .num_blocks = 256, .vocab_size = 211};

std::vector<VocabRange> ranges_of(int world_size) {
  std::vector<VocabRange> ranges;
  for (std::int32_t rank = 0, begin = 0; rank < world_size; ++rank) {
    const std::int32_t end = rank + 1 == world_size ? kLimits.vocab_size : begin + 31 * (rank + 1);
    ranges.push_back({begin, end});
    begin = end;
  }
  return ranges;
}

// What a fake model goes by: all tokens so far, or little of the last one, so that it repeats
// itself.
enum class Memory { whole, short_lived };

// A model whose logits are a hash of tokens read back from a paged cache: a wrong position, block
// or token changes what follows.
class FakeModel : public ModelRunner {
 public:
  explicit FakeModel(VocabRange range, Memory memory = Memory::whole)
      : range_(range),
        memory_(memory),
        cache_(static_cast<std::size_t>(kLimits.num_blocks * kLimits.block_size)) {}

  std::span<float> forward(std::span<const ForwardSequence> batch) override {
    ++calls;
    logits_.clear();
    for (const ForwardSequence& sequence : batch) {
      std::int32_t position = sequence.first_position;
      for (const std::int32_t token : sequence.token_ids) slot(sequence, position++) = token;
      const std::int32_t blocks = (position + kLimits.block_size - 1) / kLimits.block_size;
      EXPECT_EQ(sequence.block_table.size(), static_cast<std::size_t>(blocks));
      for (std::int32_t left = sequence.num_logits; left-- > 0;) {
        add_logits(sequence, position - left);
      }
    }
    return logits_;
  }
  VocabRange vocab_range() const override { return range_; }

  int calls = 0;

 private:
  // Of the token before `end`.
  void add_logits(const ForwardSequence& sequence, std::int32_t end) {
    Hash64 seen;
    for (std::int32_t i = 0; i < end && memory_ == Memory::whole; ++i) seen.add(slot(sequence, i));
    seen.add(slot(sequence, end - 1) % 5);
    for (std::int32_t id = range_.begin; id < range_.end; ++id) {
      const std::uint64_t bits = Hash64().add(seen.value()).add(id).value();
      logits_.push_back(static_cast<float>(bits >> 44) * 0x1p-18f);
    }
  }
  std::int32_t& slot(const ForwardSequence& sequence, std::int32_t position) {
    const auto block =
        sequence.block_table[static_cast<std::size_t>(position / kLimits.block_size)];
    return cache_.at(
        static_cast<std::size_t>(block * kLimits.block_size + position % kLimits.block_size));
  }

  VocabRange range_;
  Memory memory_;
  std::vector<std::int32_t> cache_;
  std::vector<float> logits_;
};

// One rank with all its parts.
struct Rank {
  explicit Rank(comm::Communicator& communicator, Memory memory = Memory::whole, Stage stage = {})
      : ranges(ranges_of(communicator.size())),
        model(ranges[static_cast<std::size_t>(communicator.rank())], memory),
        sampler(communicator, model.vocab_range(), ranges),
        times(communicator),
        worker(model, sampler, communicator, kLimits, times, stage) {}

  std::vector<VocabRange> ranges;
  FakeModel model;
  Sampler sampler;
  StepTimes times;
  Worker worker;
};

// Writes plans as a coordinator would, with blocks handed out in a row.
class Planner {
 public:
  comm::StepPlan next() {
    comm::StepPlan plan;
    plan.epoch = 6;
    plan.sequence_number = ++number_;
    return plan;
  }
  void start(comm::StepPlan& plan, std::uint64_t id, std::vector<std::int32_t> tokens,
             std::int32_t num_prompt_tokens, const comm::SamplingParams& sampling) {
    comm::SequenceStart start;
    start.sequence_id = id;
    start.sampling = sampling;
    start.num_prompt_tokens = num_prompt_tokens;
    start.token_ids = std::move(tokens);
    plan.starts.push_back(start);
    ends_[id] = 0;
    blocks_[id] = 0;
  }
  void compute(comm::StepPlan& plan, std::uint64_t id, std::int32_t count, bool samples) {
    comm::PlanEntry entry;
    entry.sequence_id = id;
    entry.first_position = ends_[id];
    entry.num_tokens = count;
    entry.samples = samples;
    ends_[id] += count;
    while (blocks_[id] * kLimits.block_size < ends_[id]) {
      entry.new_blocks.push_back(next_block_++);
      ++blocks_[id];
    }
    plan.entries.push_back(entry);
  }

 private:
  std::uint64_t number_ = 0;
  std::int32_t next_block_ = 0;
  std::map<std::uint64_t, std::int32_t> ends_, blocks_;
};

std::vector<comm::SamplingParams> sampling_kinds() {
  return {params_of({}), params_of({.temperature = 1.0f, .seed = 3}),
          params_of({.temperature = 0.8f, .top_k = 20, .seed = 4, .logprobs = 2}),
          params_of({.temperature = 1.0f, .presence_penalty = 2.0f, .seed = 5})};
}

const std::vector<std::int32_t> kPrompt = {7, 1, 200, 33, 5, 90, 12, 7, 1, 200, 33};

// Four sequences side by side, prefilled in chunks of `chunk`, then `answer` tokens of each.
std::vector<comm::StepPlan> batch_plans(std::int32_t chunk, int answer) {
  Planner planner;
  std::vector<comm::StepPlan> plans = {planner.next()};
  const auto kinds = sampling_kinds();
  const auto length = static_cast<std::int32_t>(kPrompt.size());
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    planner.start(plans[0], i, kPrompt, length, kinds[i]);
  }
  for (std::int32_t done = 0; done < length; done += chunk) {
    if (done > 0) plans.push_back(planner.next());
    const std::int32_t count = std::min(chunk, length - done);
    for (std::size_t i = 0; i < kinds.size(); ++i) {
      planner.compute(plans.back(), i, count, done + count == length);
    }
  }
  for (int token = 1; token < answer; ++token) {
    plans.push_back(planner.next());
    for (std::size_t i = 0; i < kinds.size(); ++i) planner.compute(plans.back(), i, 1, true);
  }
  return plans;
}

struct Outcome {
  std::vector<std::vector<std::uint64_t>> digests;  // of each rank
  std::map<std::uint64_t, std::vector<comm::SampledToken>> answers;
  std::uint32_t drafts = 0, accepted_drafts = 0;
};

Outcome execute(int world_size, const std::vector<comm::StepPlan>& plans,
                Memory memory = Memory::whole) {
  Outcome outcome;
  outcome.digests.resize(static_cast<std::size_t>(world_size));
  std::mutex mutex;
  comm::spawn_ranks(world_size, kDeadline, [&](comm::Communicator& communicator) {
    Rank rank(communicator, memory);
    for (const comm::StepPlan& plan : plans) {
      const comm::StepReport report = rank.worker.execute(plan);
      const std::lock_guard lock(mutex);
      EXPECT_EQ(report.rank, communicator.rank());
      EXPECT_EQ(report.sequence_number, plan.sequence_number);
      EXPECT_EQ(report.epoch, 6u);
      EXPECT_LE(report.wait_us, report.compute_us);
      EXPECT_TRUE(report.rank == 0 || report.sampled.empty());
      outcome.digests[static_cast<std::size_t>(report.rank)].push_back(report.digest);
      for (const auto& token : report.sampled) outcome.answers[token.sequence_id].push_back(token);
      if (report.rank > 0) continue;
      outcome.drafts += report.drafts;
      outcome.accepted_drafts += report.accepted_drafts;
    }
  });
  return outcome;
}

void expect_same_answers(const Outcome& a, const Outcome& b) {
  ASSERT_EQ(a.answers.size(), b.answers.size());
  for (const auto& [id, tokens] : a.answers) {
    ASSERT_EQ(tokens.size(), b.answers.at(id).size()) << "sequence " << id;
    for (std::size_t i = 0; i < tokens.size(); ++i) {
      EXPECT_EQ(tokens[i].token_id, b.answers.at(id)[i].token_id) << "sequence " << id;
      EXPECT_EQ(tokens[i].logprob, b.answers.at(id)[i].logprob) << "sequence " << id;
    }
  }
}

class WorkerWorlds : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Worlds, WorkerWorlds, testing::Values(1, 2, 3, 4));

TEST_P(WorkerWorlds, AllRanksReportTheDigestsAndTokensOfAWorldOfOne) {
  const std::vector<comm::StepPlan> plans = batch_plans(3, 20);
  const Outcome one = execute(1, plans);
  const Outcome many = execute(GetParam(), plans);
  for (const auto& digests : many.digests) EXPECT_EQ(digests, one.digests[0]);
  expect_same_answers(many, one);
  EXPECT_EQ(one.answers.at(0).size(), 20u);
}

TEST_P(WorkerWorlds, AnswersDoNotDependOnTheChunksOfThePrefill) {
  const Outcome whole = execute(GetParam(), batch_plans(100, 15));
  for (const std::int32_t chunk : {1, 2, 4, 10}) {
    const Outcome chunked = execute(GetParam(), batch_plans(chunk, 15));
    expect_same_answers(chunked, whole);
    EXPECT_NE(chunked.digests[0].back(), whole.digests[0].back());  // other plans, other digest
  }
}

TEST(Worker, AnswersDoNotDependOnTheOtherSequencesOfTheBatch) {
  const Outcome together = execute(1, batch_plans(100, 12));
  const auto kinds = sampling_kinds();
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    Planner planner;
    std::vector<comm::StepPlan> plans = {planner.next()};
    const auto length = static_cast<std::int32_t>(kPrompt.size());
    planner.start(plans[0], i, kPrompt, length, kinds[i]);
    planner.compute(plans[0], i, length, true);
    for (int token = 1; token < 12; ++token) {
      plans.push_back(planner.next());
      planner.compute(plans.back(), i, 1, true);
    }
    Outcome expected;
    expected.answers[i] = together.answers.at(i);
    expect_same_answers(execute(1, plans), expected);
  }
}

TEST(Worker, APreemptedSequenceGoesOnAsIfNothingHadHappened) {
  const Outcome undisturbed = execute(2, batch_plans(100, 12));
  const auto kinds = sampling_kinds();
  std::vector<comm::StepPlan> plans = batch_plans(100, 5);
  // The coordinator has seen the five tokens of every answer: all end and start again with them.
  Planner planner;
  for (int i = 0; i < 5; ++i) planner.next();
  plans.push_back(planner.next());
  for (std::size_t i = 0; i < kinds.size(); ++i) {
    std::vector<std::int32_t> tokens = kPrompt;
    for (int t = 0; t < 5; ++t) tokens.push_back(undisturbed.answers.at(i)[t].token_id);
    plans.back().ends.push_back(i);
    planner.start(plans.back(), i, tokens, static_cast<std::int32_t>(kPrompt.size()), kinds[i]);
    planner.compute(plans.back(), i, static_cast<std::int32_t>(tokens.size()), true);
  }
  for (int token = 6; token < 12; ++token) {
    plans.push_back(planner.next());
    for (std::size_t i = 0; i < kinds.size(); ++i) planner.compute(plans.back(), i, 1, true);
  }
  expect_same_answers(execute(2, plans), undisturbed);
}

TEST(Worker, ThePresencePenaltyKeepsTokensFromComingAgain) {
  auto plans = batch_plans(100, 30);
  plans[0].starts[0].sampling.presence_penalty = 100.0f;
  const Outcome outcome = execute(1, plans);
  std::set<std::int32_t> distinct;
  for (const comm::SampledToken& token : outcome.answers.at(0)) distinct.insert(token.token_id);
  EXPECT_EQ(distinct.size(), 30u);
}

TEST(Worker, DrawsWithTheIndexThatTheTokenWillHave) {
  const Outcome outcome = execute(1, batch_plans(100, 2));
  const comm::SamplingParams params = sampling_kinds()[1];
  std::vector<std::int32_t> tokens = kPrompt;
  for (const comm::SampledToken& token : outcome.answers.at(1)) {
    FakeModel model({0, kLimits.vocab_size});
    const std::vector<std::int32_t> blocks = {0, 1, 2};
    const std::vector<ForwardSequence> batch = {
        {.token_ids = tokens, .first_position = 0, .block_table = blocks, .num_logits = 1}};
    const SamplingInput input{.params = &params,
                              .position = static_cast<std::int32_t>(tokens.size())};
    EXPECT_EQ(token.token_id, select_token(model.forward(batch), input).token_id);
    tokens.push_back(token.token_id);
  }
}

TEST(Worker, AHeartbeatTouchesNoModelAndStillChainsTheDigest) {
  comm::spawn_ranks(1, kDeadline, [](comm::Communicator& communicator) {
    Rank rank(communicator);
    Planner planner;
    const auto first = rank.worker.execute(planner.next());
    const auto second = rank.worker.execute(planner.next());
    EXPECT_EQ(rank.model.calls, 0);
    EXPECT_NE(first.digest, second.digest);
    EXPECT_TRUE(second.sampled.empty());
  });
}

TEST(Worker, TheDigestTellsOfAPlanThatDiffered) {
  auto plans = batch_plans(100, 3);
  const auto expected = execute(1, plans).digests[0];
  plans[0].starts[0].sampling.seed ^= 1;  // of a greedy sequence: the tokens stay the same
  const auto actual = execute(1, plans).digests[0];
  for (std::size_t step = 0; step < expected.size(); ++step) {
    EXPECT_NE(actual[step], expected[step]) << step;  // and it stays different
  }
}

TEST(Worker, RefusesPlansOutOfOrder) {
  comm::spawn_ranks(1, kDeadline, [](comm::Communicator& communicator) {
    Rank rank(communicator);
    comm::StepPlan plan;
    plan.epoch = 6;
    plan.sequence_number = 2;
    EXPECT_THAT([&] { rank.worker.execute(plan); },
                ThrowsMessage<Error>(HasSubstr("sequence_number 2 after 0")));
    plan.sequence_number = 1;
    rank.worker.execute(plan);
    EXPECT_THAT([&] { rank.worker.execute(plan); },
                ThrowsMessage<Error>(HasSubstr("sequence_number 1 after 1")));
    plan.sequence_number = 2;
    plan.epoch = 7;
    EXPECT_THAT([&] { rank.worker.execute(plan); },
                ThrowsMessage<Error>(HasSubstr("epoch 7 in the life of epoch 6")));
  });
}

TEST(Worker, RefusesAMalformedPlanByItsSequence) {
  comm::spawn_ranks(1, kDeadline, [](comm::Communicator& communicator) {
    Rank rank(communicator);
    Planner planner;
    comm::StepPlan plan = planner.next();
    planner.compute(plan, 31, 1, true);
    EXPECT_THAT([&] { rank.worker.execute(plan); },
                ThrowsMessage<Error>(HasSubstr("sequence 31: is not known")));
    EXPECT_EQ(rank.model.calls, 0);
  });
}

// The sequences of batch_plans() again, whose steps each draft up to `max_drafts`
// tokens. Each has as many blocks as it may need.
std::vector<comm::StepPlan> drafting_plans(std::int32_t max_drafts, int steps) {
  std::vector<comm::StepPlan> plans = batch_plans(100, 1);
  const auto most = static_cast<std::int32_t>(kPrompt.size()) + (1 + steps) * (1 + max_drafts);
  std::int32_t block = 0;
  for (comm::PlanEntry& entry : plans[0].entries) {
    entry.max_drafts = max_drafts;
    entry.new_blocks.resize(static_cast<std::size_t>(most / kLimits.block_size + 1));
    for (std::int32_t& id : entry.new_blocks) id = block++;
  }
  for (int step = 0; step < steps; ++step) {
    comm::StepPlan plan = plans.back();
    ++plan.sequence_number;
    plan.starts.clear();
    for (comm::PlanEntry& entry : plan.entries) {
      entry.first_position = comm::kAtLastToken;
      entry.num_tokens = 1;
      entry.max_drafts = max_drafts;
      entry.new_blocks.clear();
    }
    plans.push_back(plan);
  }
  return plans;
}

// As far as both go.
void expect_same_beginnings(const Outcome& a, const Outcome& b) {
  Outcome cut_a = a, cut_b = b;
  for (auto& [id, tokens] : cut_a.answers) {
    const std::size_t count = std::min(tokens.size(), b.answers.at(id).size());
    tokens.resize(count);
    cut_b.answers.at(id).resize(count);
  }
  expect_same_answers(cut_a, cut_b);
}

TEST_P(WorkerWorlds, AnswersDoNotDependOnDrafts) {
  const Outcome without = execute(1, batch_plans(100, 100), Memory::short_lived);
  for (const auto& [max_drafts, steps] : {std::pair{1, 40}, {3, 30}, {7, 25}}) {
    const auto plans = drafting_plans(max_drafts, steps);
    const Outcome one = execute(1, plans, Memory::short_lived),
                  many = execute(GetParam(), plans, Memory::short_lived);
    for (const auto& digests : many.digests) EXPECT_EQ(digests, one.digests[0]);
    expect_same_answers(many, one);
    expect_same_beginnings(many, without);
    EXPECT_GT(many.accepted_drafts, 5u);
    EXPECT_GT(many.drafts, many.accepted_drafts);  // some are wrong
    std::size_t tokens = 0;
    for (const auto& [id, answer] : many.answers) tokens += answer.size();
    EXPECT_EQ(tokens, 4 * (1 + static_cast<std::size_t>(steps)) + many.accepted_drafts);
  }
}

// Also tokens that are drawn behind drafts count for penalties: with this one, none comes twice.
TEST(Worker, DraftsCountForPenalties) {
  auto plans = drafting_plans(3, 30);
  plans[0].starts[0].sampling.presence_penalty = 100.0f;
  const Outcome outcome = execute(1, plans, Memory::short_lived);
  std::set<std::int32_t> distinct;
  for (const comm::SampledToken& token : outcome.answers.at(0)) distinct.insert(token.token_id);
  EXPECT_EQ(distinct.size(), outcome.answers.at(0).size());
}

// Every stage guesses the same; plans bring what the last one has drawn.
TEST(Worker, DraftsInAPipeline) {
  const Outcome without = execute(1, batch_plans(100, 100), Memory::short_lived);
  Outcome outcome;
  comm::spawn_ranks(1, kDeadline, [&](comm::Communicator& communicator) {
    Rank first(communicator, Memory::short_lived, {.index = 0, .count = 2});
    Rank last(communicator, Memory::short_lived, {.index = 1, .count = 2});
    std::map<std::uint64_t, std::int32_t> positions;
    std::vector<comm::KnownToken> sampled;
    for (comm::StepPlan plan : drafting_plans(3, 30)) {
      plan.sampled = std::exchange(sampled, {});
      for (comm::PlanEntry& entry : plan.entries) {
        if (plan.starts.empty()) entry.first_position = positions.at(entry.sequence_id);
        positions[entry.sequence_id] = entry.first_position + entry.num_tokens - 1;
      }
      const comm::StepReport early = first.worker.execute(plan), report = last.worker.execute(plan);
      EXPECT_TRUE(early.sampled.empty());
      EXPECT_EQ(early.drafts, report.drafts);
      outcome.accepted_drafts += report.accepted_drafts;
      for (const comm::SampledToken& token : report.sampled) {
        outcome.answers[token.sequence_id].push_back(token);
        sampled.push_back({token.sequence_id, token.token_id});
        ++positions[token.sequence_id];
      }
    }
  });
  expect_same_beginnings(outcome, without);
  EXPECT_GT(outcome.accepted_drafts, 5u);
}

// Leaves every step to the test's device, which knows the tokens before the host does.
class FakeDevice final : public StepRunner {
 public:
  explicit FakeDevice(comm::Communicator& communicator)
      : model_({0, kLimits.vocab_size}),
        sampler_(communicator, {0, kLimits.vocab_size}, {{0, kLimits.vocab_size}}) {}

  bool can_begin() const override { return results_.size() < 2; }
  void begin(std::span<const ForwardSequence> batch,
             std::span<const SamplingInput> inputs) override {
    std::vector<std::vector<std::int32_t>> tokens;
    std::vector<ForwardSequence> known(batch.begin(), batch.end());
    for (ForwardSequence& sequence : known) {
      auto& own = tokens.emplace_back(sequence.token_ids.begin(), sequence.token_ids.end());
      if (sequence.sampled_row >= 0) {
        EXPECT_EQ(own.back(), kUnknownToken);
        own.back() = chosen_.at(static_cast<std::size_t>(sequence.sampled_row));
        ++unknown_tokens;
      }
      sequence.token_ids = own;
    }
    const auto sampled = sampler_.sample(model_.forward(known), inputs);
    if (!inputs.empty()) chosen_.clear();
    for (const comm::SampledToken& token : sampled) chosen_.push_back(token.token_id);
    results_.push_back({sampled, 3});
  }
  bool done() override { return is_done; }
  StepResult finish() override {
    StepResult result = results_.front();
    results_.pop_front();
    return result;
  }

  bool is_done = false;
  int unknown_tokens = 0;

 private:
  FakeModel model_;
  Sampler sampler_;
  std::vector<std::int32_t> chosen_;
  std::deque<StepResult> results_;
};

// The plans of two sequences without penalties; the second one's prompt in two chunks.
std::vector<comm::StepPlan> plans_of_two() {
  Planner planner;
  std::vector<comm::StepPlan> plans = {planner.next()};
  planner.start(plans[0], 1, kPrompt, 11, params_of({.temperature = 1.0f, .seed = 3}));
  planner.start(plans[0], 2, kPrompt, 11, params_of({.temperature = 1.0f, .seed = 4}));
  planner.compute(plans[0], 1, 11, true);
  planner.compute(plans[0], 2, 6, false);
  for (int step = 0; step < 5; ++step) {
    plans.push_back(planner.next());
    planner.compute(plans.back(), 2, step == 0 ? 5 : 1, true);
    planner.compute(plans.back(), 1, 1, true);
  }
  return plans;
}

TEST(Worker, StartsAPlanBeforeItKnowsTheTokensOfTheOneBefore) {
  const std::vector<comm::StepPlan> plans = plans_of_two();
  const Outcome expected = execute(1, plans);
  comm::spawn_ranks(1, kDeadline, [&](comm::Communicator& communicator) {
    FakeDevice device(communicator);
    StepTimes times(communicator);
    Worker worker(device, communicator, kLimits, times);
    std::vector<std::uint64_t> digests;
    worker.start(plans[0]);
    EXPECT_FALSE(worker.done());
    for (std::size_t next = 1; next <= plans.size(); ++next) {
      if (next < plans.size()) {
        EXPECT_TRUE(worker.can_start());
        worker.start(plans[next]);
        EXPECT_FALSE(worker.can_start());
        EXPECT_EQ(worker.num_started(), 2u);
      }
      device.is_done = true;
      EXPECT_TRUE(worker.done());
      EXPECT_EQ(worker.oldest().sequence_number, next);
      const comm::StepReport report = worker.finish();
      EXPECT_EQ(report.sequence_number, next);
      EXPECT_EQ(report.rows_on_host, 3u);
      digests.push_back(report.digest);
    }
    EXPECT_EQ(digests, expected.digests[0]);
    EXPECT_EQ(device.unknown_tokens, 9);  // all but the prompts
  });
}

// Whose tokens come with plans.
TEST(Worker, TakesOnePlanAtATimeInAPipeline) {
  comm::spawn_ranks(1, kDeadline, [&](comm::Communicator& communicator) {
    FakeDevice device(communicator);
    StepTimes times(communicator);
    Worker worker(device, communicator, kLimits, times, {.index = 1, .count = 2});
    auto plans = plans_of_two();
    worker.start(plans[0]);
    EXPECT_FALSE(worker.can_start());
    const comm::StepReport report = worker.finish();
    EXPECT_EQ(report.rank, 1);
    plans[1].sampled = {{1, report.sampled[0].token_id}};
    EXPECT_EQ(worker.execute(plans[1]).sampled.size(), 2u);
    EXPECT_EQ(device.unknown_tokens, 0);
  });
}

// And does not mistake another sequence's token for its own, where one ends and comes back.
TEST(Worker, DropsTokensOfSequencesThatHaveEndedMeanwhile) {
  comm::spawn_ranks(1, kDeadline, [&](comm::Communicator& communicator) {
    FakeDevice device(communicator);
    StepTimes times(communicator);
    Worker worker(device, communicator, kLimits, times);
    Planner planner;
    comm::StepPlan first = planner.next();
    planner.start(first, 1, kPrompt, 11, params_of({}));
    planner.compute(first, 1, 11, true);
    worker.start(first);
    comm::StepPlan second = planner.next();
    second.ends = {1};
    planner.start(second, 1, {4, 5}, 2, params_of({}));
    planner.compute(second, 1, 2, true);
    worker.start(second);
    EXPECT_EQ(worker.finish().sampled[0].sequence_id, 1u);
    comm::StepPlan third = planner.next();
    planner.compute(third, 1, 1, true);
    worker.start(third);
    EXPECT_EQ(device.unknown_tokens, 1);  // of the second plan
    worker.finish();
    worker.finish();
  });
}

TEST(Worker, CountsTheWaitForAPlanWhileASequenceGoesOn) {
  comm::spawn_ranks(1, kDeadline, [](comm::Communicator& communicator) {
    Rank rank(communicator);
    std::vector<std::uint32_t> waits;
    auto plans = batch_plans(100, 2);
    comm::StepPlan& heartbeat = plans.emplace_back();
    heartbeat.epoch = 6;
    heartbeat.sequence_number = 3;
    for (const comm::StepPlan& plan : plans) {
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
      waits.push_back(rank.worker.execute(plan).plan_wait_us);
    }
    EXPECT_THAT(waits, testing::ElementsAre(0u, testing::Ge(10000u), 0u));
  });
}

TEST(Worker, ReportsTheTimeOfSampling) {
  comm::spawn_ranks(1, kDeadline, [](comm::Communicator& communicator) {
    Rank rank(communicator);
    const comm::StepReport report = rank.worker.execute(batch_plans(100, 1)[0]);
    EXPECT_GT(report.sampling_us, 0u);
    EXPECT_LE(report.sampling_us, report.compute_us);
    EXPECT_EQ(report.product_us, 0u);  // the fake model has none
  });
}

// Waits in forward until rank 1, which sleeps, arrives.
TEST(Worker, ReportsTheTimeSpentWaitingForASlowRank) {
  class SlowModel : public FakeModel {
   public:
    SlowModel(VocabRange range, comm::Communicator& communicator)
        : FakeModel(range), communicator_(communicator) {}
    std::span<float> forward(std::span<const ForwardSequence> batch) override {
      if (communicator_.rank() == 1) std::this_thread::sleep_for(std::chrono::milliseconds(60));
      communicator_.barrier("slow model");
      return FakeModel::forward(batch);
    }

   private:
    comm::Communicator& communicator_;
  };
  comm::spawn_ranks(2, kDeadline, [](comm::Communicator& communicator) {
    const auto ranges = ranges_of(2);
    SlowModel model(ranges[static_cast<std::size_t>(communicator.rank())], communicator);
    Sampler sampler(communicator, model.vocab_range(), ranges);
    StepTimes times(communicator);
    Worker worker(model, sampler, communicator, kLimits, times);
    communicator.barrier("together");
    const comm::StepReport report = worker.execute(batch_plans(100, 1)[0]);
    if (report.rank == 1) {
      EXPECT_GE(report.compute_us, 59000u);
    } else {  // which may have begun later, on a busy machine
      EXPECT_GE(report.wait_us, 30000u);
      EXPECT_GE(report.compute_us, report.wait_us);
    }
  });
}

}  // namespace
}  // namespace lockstep::shard

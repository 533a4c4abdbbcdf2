#include "coordinator/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <numeric>
#include <vector>

#include "base/error.h"
#include "tests/coordinator/fake_shard.h"

namespace lockstep::coordinator {
namespace {

using ::testing::ElementsAre;
using testing::fake_token;
using testing::FakeShard;
using ::testing::IsEmpty;

Request request(std::uint64_t id, std::int32_t prompt_tokens, std::int32_t max_tokens) {
  Request r;
  r.sequence_id = id;
  r.sampling.seed = 100 + id;
  r.prompt_token_ids.resize(prompt_tokens);
  std::iota(r.prompt_token_ids.begin(), r.prompt_token_ids.end(), static_cast<int>(id));
  r.stop.max_tokens = max_tokens;
  return r;
}

// The answer that the fake shard's sampling gives, computed without a scheduler.
std::vector<std::int32_t> expected_answer(const Request& r) {
  std::vector<std::int32_t> answer;
  const auto prompt = static_cast<std::int32_t>(r.prompt_token_ids.size());
  for (std::int32_t i = 0;; ++i) {
    answer.push_back(fake_token(r.sampling.seed, prompt + i));
    if (check_stop(r.stop, answer.back(), i + 1)) return answer;
  }
}

SchedulerOptions small_options() {
  return {.max_num_seqs = 4,
          .max_num_batched_tokens = 32,
          .max_model_len = 128,
          .block_size = 16,
          .num_blocks = 16};
}

// A scheduler and the shard that executes its plans, with as many plans in flight as asked for.
struct Loop {
  explicit Loop(const SchedulerOptions& options)
      : scheduler(options, /*epoch=*/3),
        shard(options.num_blocks, options.block_size, options.max_num_batched_tokens) {}

  // Makes a plan and has the shard execute it; its report stays in flight.
  std::optional<comm::StepPlan> publish() {
    std::optional<comm::StepPlan> plan = scheduler.schedule();
    if (plan) reports.push_back(shard.execute(*plan));
    return plan;
  }

  std::vector<ScheduledToken> take_report() {
    std::vector<ScheduledToken> tokens = scheduler.apply(reports.front());
    reports.pop_front();
    for (const ScheduledToken& t : tokens) {
      answers[t.token.sequence_id].push_back(t.token.token_id);
      if (t.finish) finished.push_back(t.token.sequence_id);
    }
    return tokens;
  }

  // Until nothing is left, `depth` plans in flight.
  void run(std::size_t depth) {
    for (;;) {
      while (reports.size() < depth && publish()) {
      }
      if (reports.empty()) return;
      take_report();
    }
  }

  Scheduler scheduler;
  FakeShard shard;
  std::deque<comm::StepReport> reports;
  std::map<std::uint64_t, std::vector<std::int32_t>> answers;
  std::vector<std::uint64_t> finished;
};

TEST(Scheduler, NumbersPlansWithoutGapsUnderItsEpoch) {
  Loop loop(small_options());
  loop.scheduler.add(request(1, 3, 2));
  const auto first = loop.publish();
  const comm::StepPlan second = loop.scheduler.empty_plan(/*shutdown=*/true);
  EXPECT_EQ(first->epoch, 3u);
  EXPECT_EQ(first->sequence_number, 1u);
  EXPECT_EQ(second.epoch, 3u);
  EXPECT_EQ(second.sequence_number, 2u);
  EXPECT_TRUE(second.shutdown);
  EXPECT_THAT(second.entries, IsEmpty());
}

TEST(Scheduler, HasNoPlanWithoutRequests) {
  Scheduler scheduler(small_options(), 1);
  EXPECT_FALSE(scheduler.schedule());
}

TEST(Scheduler, SplitsALongPromptUnderTheTokenBudget) {
  Loop loop(small_options());
  loop.scheduler.add(request(1, 70, 1));
  const auto first = loop.publish();
  const auto second = loop.publish();
  const auto third = loop.publish();
  ASSERT_TRUE(first && second && third);
  EXPECT_EQ(first->entries[0].num_tokens, 32);
  EXPECT_EQ(first->entries[0].new_blocks.size(), 2u);
  EXPECT_FALSE(first->entries[0].samples);
  EXPECT_EQ(second->entries[0].first_position, 32);
  EXPECT_EQ(third->entries[0].first_position, 64);
  EXPECT_EQ(third->entries[0].num_tokens, 6);
  EXPECT_TRUE(third->entries[0].samples);
}

TEST(Scheduler, ServesDecodesBeforePrefills) {
  Loop loop(small_options());
  loop.scheduler.add(request(1, 4, 10));
  loop.publish();
  loop.scheduler.add(request(2, 100, 2));
  const auto plan = loop.publish();
  ASSERT_EQ(plan->entries.size(), 2u);
  EXPECT_EQ(plan->entries[0].sequence_id, 1u);
  EXPECT_EQ(plan->entries[0].num_tokens, 1);
  EXPECT_EQ(plan->entries[1].sequence_id, 2u);
  EXPECT_EQ(plan->entries[1].num_tokens, 31);
}

TEST(Scheduler, PlansTheNextTokenBeforeTheLastOneIsReported) {
  Loop loop(small_options());
  loop.scheduler.add(request(1, 5, 10));
  loop.publish();
  const auto second = loop.publish();
  ASSERT_TRUE(second);
  EXPECT_EQ(second->entries[0].first_position, 5);
  EXPECT_EQ(second->entries[0].num_tokens, 1);
  EXPECT_TRUE(second->entries[0].samples);
}

TEST(Scheduler, WastesNoEntryOnAnEndKnownInAdvance) {
  Loop loop(small_options());
  loop.scheduler.add(request(1, 5, 3));
  loop.run(2);
  EXPECT_EQ(loop.answers[1].size(), 3u);
  EXPECT_EQ(loop.shard.positions_computed(), 5 + 2);
}

TEST(Scheduler, IgnoresTheResultOfTheEntryAfterAStopToken) {
  Request r = request(1, 5, 50);
  r.stop.eos_token_ids = {fake_token(r.sampling.seed, 5 + 3)};
  const std::vector<std::int32_t> expected = expected_answer(r);
  Loop loop(small_options());
  loop.scheduler.add(r);
  loop.run(2);
  EXPECT_EQ(loop.answers[1], expected);
  // Prompt, the answer but for its last token, and the one entry in flight when the end was seen.
  EXPECT_EQ(loop.shard.positions_computed(), 5 + static_cast<int>(expected.size()) - 1 + 1);
  EXPECT_EQ(loop.scheduler.blocks().num_used(), 0);
}

TEST(Scheduler, EndsASequenceBeforeItsBlocksAreGivenOutAgain) {
  SchedulerOptions options = small_options();
  options.num_blocks = 2;
  Loop loop(options);
  Request first = request(1, 20, 10);
  first.stop.eos_token_ids = {fake_token(first.sampling.seed, 20)};
  loop.scheduler.add(first);
  loop.scheduler.add(request(2, 20, 2));
  loop.publish();
  loop.publish();  // a decode of 1 that will turn out wasted; it writes to 1's blocks
  EXPECT_EQ(loop.scheduler.num_running(), 1);
  ASSERT_EQ(loop.take_report().size(), 1u);
  const auto plan = loop.publish();
  ASSERT_TRUE(plan);
  EXPECT_THAT(plan->ends, ElementsAre(1u));
  ASSERT_EQ(plan->starts.size(), 1u);
  EXPECT_EQ(plan->starts[0].sequence_id, 2u);
  EXPECT_THAT(loop.take_report(), IsEmpty());  // the wasted one
}

TEST(Scheduler, PreemptsTheYoungestWhenBlocksRunOut) {
  SchedulerOptions options = small_options();
  options.num_blocks = 3;
  Loop loop(options);
  loop.scheduler.add(request(1, 16, 20));
  loop.scheduler.add(request(2, 16, 20));
  loop.publish();
  loop.take_report();
  const auto both = loop.publish();  // 1 takes the third block, so 2 finds none and has to go
  EXPECT_THAT(both->ends, ElementsAre(2u));
  ASSERT_EQ(both->entries.size(), 1u);
  EXPECT_EQ(both->entries[0].sequence_id, 1u);
  EXPECT_EQ(loop.scheduler.num_preemptions(), 1u);
  EXPECT_EQ(loop.scheduler.num_waiting(), 1);
}

TEST(Scheduler, RestartsAPreemptedSequenceWithItsAnswerSoFar) {
  SchedulerOptions options = small_options();
  options.num_blocks = 3;
  Loop loop(options);
  const Request first = request(1, 16, 20), second = request(2, 15, 20);
  loop.scheduler.add(first);
  loop.scheduler.add(second);
  std::optional<comm::SequenceStart> restart;
  for (int i = 0; i < 100 && !restart; ++i) {
    if (const auto plan = loop.publish()) {
      if (i > 0 && !plan->starts.empty()) restart = plan->starts[0];
    }
    if (!loop.reports.empty()) loop.take_report();
  }
  ASSERT_TRUE(restart);
  EXPECT_EQ(restart->sequence_id, 2u);
  EXPECT_EQ(restart->num_prompt_tokens, 15);
  std::vector<std::int32_t> tokens = second.prompt_token_ids;
  const std::vector<std::int32_t> answer = expected_answer(second);
  ASSERT_GT(restart->token_ids.size(), 15u);
  tokens.insert(tokens.end(), answer.begin(),
                answer.begin() + static_cast<int>(restart->token_ids.size()) - 15);
  EXPECT_EQ(restart->token_ids, tokens);
  loop.run(2);
  EXPECT_EQ(loop.answers[1], expected_answer(first));
  EXPECT_EQ(loop.answers[2], answer);
}

TEST(Scheduler, CountsTokensReportedAfterThePreemption) {
  SchedulerOptions options = small_options();
  options.num_blocks = 3;
  Loop loop(options);
  loop.scheduler.add(request(1, 16, 20));
  loop.scheduler.add(request(2, 16, 20));
  loop.publish();                      // samples the first token of both
  const auto second = loop.publish();  // preempts 2, whose token is still in flight
  EXPECT_THAT(second->ends, ElementsAre(2u));
  EXPECT_TRUE(loop.scheduler.cancel(1));  // all blocks are free
  EXPECT_FALSE(loop.publish());           // 2 must not restart before its token is known
  EXPECT_EQ(loop.take_report().size(), 1u);
  EXPECT_THAT(loop.answers[2], ElementsAre(fake_token(102, 16)));
  loop.run(2);
  EXPECT_EQ(loop.answers[2], expected_answer(request(2, 16, 20)));
}

TEST(Scheduler, FinishesAPreemptedSequenceWhoseLastTokenWasInFlight) {
  SchedulerOptions options = small_options();
  options.num_blocks = 3;
  Loop loop(options);
  Request second = request(2, 16, 20);
  second.stop.eos_token_ids = {fake_token(102, 16)};
  loop.scheduler.add(request(1, 16, 20));
  loop.scheduler.add(second);
  loop.publish();
  loop.publish();
  EXPECT_EQ(loop.scheduler.num_waiting(), 1);
  loop.take_report();
  EXPECT_THAT(loop.finished, ElementsAre(2u));
  EXPECT_EQ(loop.scheduler.num_waiting(), 0);
  loop.run(2);
  EXPECT_EQ(loop.shard.num_sequences(), 0u + 1u);  // the end of 1 waits for the next plan
  loop.shard.execute(loop.scheduler.empty_plan(false));
  EXPECT_EQ(loop.shard.num_sequences(), 0u);
}

TEST(Scheduler, CancelsAtAnyPointOfALife) {
  Loop loop(small_options());
  loop.scheduler.add(request(1, 5, 10));
  loop.scheduler.add(request(2, 5, 10));
  EXPECT_TRUE(loop.scheduler.cancel(2));  // waiting: the shards never hear of it
  loop.publish();
  EXPECT_TRUE(loop.scheduler.cancel(1));  // in flight
  EXPECT_FALSE(loop.scheduler.cancel(1));
  EXPECT_THAT(loop.take_report(), IsEmpty());
  EXPECT_EQ(loop.scheduler.blocks().num_used(), 0);
  EXPECT_FALSE(loop.scheduler.schedule());
  EXPECT_THAT(loop.scheduler.empty_plan(false).ends, ElementsAre(1u));
}

TEST(Scheduler, LetsNobodyOvertakeTheHeadOfTheQueue) {
  SchedulerOptions options = small_options();
  options.num_blocks = 4;
  Loop loop(options);
  loop.scheduler.add(request(1, 32, 4));
  loop.scheduler.add(request(2, 60, 4));  // does not fit beside 1
  loop.scheduler.add(request(3, 1, 1));   // would fit
  loop.publish();
  loop.publish();
  EXPECT_EQ(loop.scheduler.num_running(), 1);
  EXPECT_EQ(loop.scheduler.num_waiting(), 2);
  loop.run(2);
  EXPECT_THAT(loop.finished, ElementsAre(1u, 2u, 3u));
}

TEST(Scheduler, RefusesAReportThatDoesNotAnswerItsPlan) {
  Loop loop(small_options());
  EXPECT_THROW(loop.scheduler.apply({}), Error);
  loop.scheduler.add(request(1, 5, 10));
  loop.publish();
  comm::StepReport wrong_step = loop.reports.front();
  wrong_step.sequence_number = 9;
  EXPECT_THROW(loop.scheduler.apply(wrong_step), Error);

  Loop missing(small_options());
  missing.scheduler.add(request(1, 5, 10));
  missing.publish();
  missing.reports.front().sampled.clear();
  EXPECT_THROW(missing.take_report(), Error);

  Loop other(small_options());
  other.scheduler.add(request(1, 5, 10));
  other.publish();
  other.reports.front().sampled[0].sequence_id = 2;
  EXPECT_THROW(other.take_report(), Error);
}

SchedulerOptions drafting_options(std::int32_t drafts) {
  SchedulerOptions options = small_options();
  options.num_speculative_tokens = drafts;
  return options;
}

// A shard whose drafts are all right.
std::vector<comm::SampledToken> tokens_of(std::uint64_t id, std::int32_t position, int count) {
  std::vector<comm::SampledToken> tokens(static_cast<std::size_t>(count));
  for (auto& token : tokens) {
    token.sequence_id = id;
    token.token_id = fake_token(100 + id, position++);
  }
  return tokens;
}

TEST(Scheduler, AsksForDraftsOfASequenceWhoseEndTheyDoNotPass) {
  Scheduler scheduler(drafting_options(7), 1);
  scheduler.add(request(1, 20, 30));
  const auto prompt = scheduler.schedule();
  EXPECT_EQ(prompt->entries[0].max_drafts, 0);
  const auto second = scheduler.schedule(), third = scheduler.schedule();
  EXPECT_EQ(second->entries[0].first_position, 20);  // its one token is in flight, its place known
  EXPECT_EQ(second->entries[0].max_drafts, 7);
  EXPECT_EQ(third->entries[0].first_position, comm::kAtLastToken);
  EXPECT_EQ(third->entries[0].max_drafts, 7);
  EXPECT_EQ(third->entries[0].num_tokens, 1);
  // 1 + 8 + 8 of 30: 13 are left.
  EXPECT_EQ(scheduler.schedule()->entries[0].max_drafts, 7);
  EXPECT_EQ(scheduler.schedule()->entries[0].max_drafts, 3);
  EXPECT_EQ(scheduler.schedule()->entries[0].max_drafts, 0);
  EXPECT_FALSE(scheduler.schedule());  // it may have all its tokens

  const auto report = [&](std::uint64_t step, std::int32_t position, int count) {
    return comm::StepReport{.sequence_number = step, .sampled = tokens_of(1, position, count)};
  };
  EXPECT_EQ(scheduler.apply(report(1, 20, 1)).size(), 1u);
  EXPECT_FALSE(scheduler.schedule());
  EXPECT_EQ(scheduler.apply(report(2, 21, 8)).size(), 8u);
  EXPECT_FALSE(scheduler.schedule());
  EXPECT_EQ(scheduler.apply(report(3, 29, 2)).size(), 2u);  // six less than it could have been
  EXPECT_EQ(scheduler.schedule()->entries[0].max_drafts, 4);
}

TEST(Scheduler, AsksForNoDraftsWhilePromptsWait) {
  Loop loop(drafting_options(7));
  loop.scheduler.add(request(1, 2, 40));
  loop.publish();
  EXPECT_EQ(loop.publish()->entries[0].max_drafts, 7);
  loop.scheduler.add(request(2, 50, 5));
  const auto third = loop.publish(), fourth = loop.publish(), fifth = loop.publish();
  EXPECT_EQ(third->entries[0].max_drafts, 0);
  EXPECT_EQ(third->entries[1].num_tokens, 31);
  EXPECT_EQ(fourth->entries[0].max_drafts, 0);
  EXPECT_EQ(fourth->entries[1].num_tokens, 19);
  EXPECT_EQ(fifth->entries[0].max_drafts, 3);
}

// They could not begin.
TEST(Scheduler, AsksForDraftsWhileAllPlacesAreTaken) {
  SchedulerOptions options = drafting_options(7);
  options.max_num_seqs = 1;
  Loop loop(options);
  loop.scheduler.add(request(1, 2, 40));
  loop.scheduler.add(request(2, 2, 40));
  loop.publish();
  EXPECT_EQ(loop.publish()->entries[0].max_drafts, 7);
  loop.run(2);
  EXPECT_EQ(loop.answers[2], expected_answer(request(2, 2, 40)));
}

TEST(Scheduler, SharesTheDraftsOfAStepOutAsLongAsThereIsOneForEach) {
  for (const auto& [sequences, each] : {std::pair{1, 7}, {2, 3}, {3, 1}, {4, 1}}) {
    Loop loop(drafting_options(7));
    for (int id = 1; id <= sequences; ++id) {
      loop.scheduler.add(request(static_cast<std::uint64_t>(id), 2, 40));
    }
    loop.publish();
    const auto plan = loop.publish();
    ASSERT_EQ(std::ssize(plan->entries), sequences);
    for (const comm::PlanEntry& entry : plan->entries) EXPECT_EQ(entry.max_drafts, each);
  }
  Loop loop(drafting_options(2));
  for (std::uint64_t id = 1; id <= 2; ++id) loop.scheduler.add(request(id, 2, 40));
  loop.publish();
  EXPECT_EQ(loop.publish()->entries[0].max_drafts, 0);
}

TEST(Scheduler, AsksForFewerDraftsWhereBlocksAreShort) {
  SchedulerOptions options = drafting_options(7);
  options.num_blocks = 2;
  Loop loop(options);
  loop.scheduler.add(request(1, 13, 10));
  loop.scheduler.add(request(2, 4, 2));
  loop.publish();
  // Three would be in a block that it has to wait for.
  EXPECT_EQ(loop.publish()->entries[0].max_drafts, 2);
  loop.run(2);
  EXPECT_EQ(loop.scheduler.num_preemptions(), 0u);
  EXPECT_GT(loop.shard.drafts_accepted(), 0);
  EXPECT_EQ(loop.answers[1], expected_answer(request(1, 13, 10)));
  EXPECT_EQ(loop.answers[2], expected_answer(request(2, 4, 2)));
}

// Three steps may bring it into a second block, and may not.
TEST(Scheduler, PreemptsNobodyForDraftsInFlight) {
  SchedulerOptions options = drafting_options(7);
  options.num_blocks = 2;
  Loop loop(options);
  loop.scheduler.add(request(1, 8, 20));
  loop.scheduler.add(request(2, 4, 3));
  loop.publish();
  EXPECT_EQ(loop.publish()->entries[0].max_drafts, 3);
  EXPECT_EQ(loop.publish()->entries[0].max_drafts, 3);
  EXPECT_FALSE(loop.publish());
  loop.run(4);
  EXPECT_EQ(loop.scheduler.num_preemptions(), 0u);
  EXPECT_EQ(loop.answers[1], expected_answer(request(1, 8, 20)));
}

TEST(Scheduler, EndsASequenceWithinItsDrafts) {
  Scheduler scheduler(drafting_options(7), 1);
  Request r = request(1, 20, 30);
  r.stop.eos_token_ids = {fake_token(101, 22)};
  scheduler.add(r);
  scheduler.schedule();
  scheduler.schedule();
  scheduler.apply({.sequence_number = 1, .sampled = tokens_of(1, 20, 1)});
  const auto tokens = scheduler.apply({.sequence_number = 2, .sampled = tokens_of(1, 21, 8)});
  ASSERT_EQ(tokens.size(), 2u);
  EXPECT_FALSE(tokens[0].finish);
  EXPECT_EQ(tokens[1].finish->reason, FinishReason::stop);
  EXPECT_EQ(scheduler.num_running(), 0);
}

TEST(Scheduler, RefusesMoreTokensThanDraftsCanHaveBrought) {
  for (const int count : {0, 5}) {
    Scheduler scheduler(drafting_options(3), 1);
    scheduler.add(request(1, 20, 30));
    scheduler.schedule();
    scheduler.schedule();
    scheduler.apply({.sequence_number = 1, .sampled = tokens_of(1, 20, 1)});
    EXPECT_THROW(scheduler.apply({.sequence_number = 2, .sampled = tokens_of(1, 21, count)}),
                 Error);
  }
  Scheduler scheduler(drafting_options(3), 1);
  scheduler.add(request(1, 20, 30));
  scheduler.schedule();
  auto tokens = tokens_of(1, 20, 1);
  tokens.push_back(tokens_of(2, 20, 1)[0]);
  EXPECT_THROW(scheduler.apply({.sequence_number = 1, .sampled = tokens}), Error);
}

TEST(Scheduler, RefusesWhatCouldNeverFinish) {
  Scheduler scheduler(small_options(), 1);
  EXPECT_THROW(scheduler.add(request(1, 0, 4)), Error);
  EXPECT_THROW(scheduler.add(request(1, 4, 0)), Error);
  EXPECT_THROW(scheduler.add(request(1, 100, 29)), Error);
  scheduler.add(request(1, 100, 28));
  EXPECT_THROW(scheduler.add(request(1, 4, 4)), Error);
  SchedulerOptions options = small_options();
  options.max_num_batched_tokens = 3;
  EXPECT_THROW(Scheduler(options, 1), Error);
  EXPECT_NO_THROW(Scheduler(drafting_options(31), 1));
  EXPECT_THROW(Scheduler(drafting_options(32), 1), Error);
  EXPECT_THROW(Scheduler(drafting_options(-1), 1), Error);
}

}  // namespace
}  // namespace lockstep::coordinator

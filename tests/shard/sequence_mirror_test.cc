#include "shard/sequence_mirror.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"

namespace lockstep::shard {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::ThrowsMessage;

constexpr MirrorLimits kLimits{.block_size = 4, .num_blocks = 10, .vocab_size = 100};

comm::SequenceStart start_of(std::uint64_t id, std::vector<std::int32_t> tokens) {
  comm::SequenceStart start;
  start.sequence_id = id;
  start.num_prompt_tokens = static_cast<std::int32_t>(tokens.size());
  start.token_ids = std::move(tokens);
  return start;
}

comm::PlanEntry entry_of(std::uint64_t id, std::int32_t first, std::int32_t count, bool samples,
                         std::vector<std::int32_t> blocks) {
  comm::PlanEntry entry;
  entry.sequence_id = id;
  entry.first_position = first;
  entry.num_tokens = count;
  entry.samples = samples;
  entry.new_blocks = std::move(blocks);
  return entry;
}

// A plan that starts sequence 7 with six tokens and computes the first five of them.
comm::StepPlan first_plan() {
  comm::StepPlan plan;
  plan.starts = {start_of(7, {1, 2, 3, 4, 5, 6})};
  plan.entries = {entry_of(7, 0, 5, false, {8, 2})};
  return plan;
}

comm::StepPlan with_entry(comm::PlanEntry entry) {
  comm::StepPlan plan;
  plan.entries = {std::move(entry)};
  return plan;
}

TEST(SequenceMirror, LearnsTokensThatAPlanBrings) {
  SequenceMirror mirror(kLimits);
  mirror.apply(first_plan());
  comm::StepPlan plan = with_entry(entry_of(7, 5, 2, true, {}));
  plan.sampled = {{7, 50}};
  mirror.apply(plan);
  EXPECT_THAT(mirror.sequence(7).token_ids, ElementsAre(1, 2, 3, 4, 5, 6, 50));
  comm::StepPlan unknown;
  unknown.sampled = {{8, 50}};
  EXPECT_THAT([&] { mirror.apply(unknown); }, ThrowsMessage<Error>(HasSubstr("sequence 8")));
  comm::StepPlan beyond;
  beyond.sampled = {{7, 100}};
  EXPECT_THAT([&] { mirror.apply(beyond); },
              ThrowsMessage<Error>(HasSubstr("outside the vocabulary of 100")));
}

// Two steps may be under way: what the second chooses comes after what the first does.
TEST(SequenceMirror, KeepsPlacesForTokensThatAreNotKnownYet) {
  SequenceMirror mirror(kLimits);
  comm::StepPlan first = first_plan();
  first.starts[0].sampling.presence_penalty = 1.0f;
  mirror.apply(first);
  const auto one = mirror.append_unknown(7, 3);
  mirror.apply(with_entry(entry_of(7, 5, 2, true, {})));  // the unknown token is an input
  EXPECT_EQ(mirror.sequence(7).sampled_row, 3);
  const auto two = mirror.append_unknown(7, 0);
  EXPECT_EQ(mirror.sequence(7).sampled_row, 0);
  mirror.learn(one, 50);
  EXPECT_EQ(mirror.sequence(7).sampled_row, 0);
  EXPECT_THAT(mirror.sequence(7).token_ids, ElementsAre(1, 2, 3, 4, 5, 6, 50, kUnknownToken));
  EXPECT_EQ(mirror.sequence(7).counts.entries().back().token_id, 50);
  EXPECT_EQ(mirror.sequence(7).counts.entries().back().in_answer, 1);
  mirror.learn(two, 51);
  EXPECT_EQ(mirror.sequence(7).sampled_row, -1);
  EXPECT_THAT(mirror.sequence(7).token_ids, ElementsAre(1, 2, 3, 4, 5, 6, 50, 51));
  EXPECT_THAT([&] { mirror.learn(two, 100); },
              ThrowsMessage<Error>(HasSubstr("outside the vocabulary of 100")));
}

// Also where another sequence has its number by then.
TEST(SequenceMirror, ForgetsTokensOfSequencesThatEndBeforeTheyAreKnown) {
  SequenceMirror mirror(kLimits);
  comm::StepPlan plan = first_plan();
  plan.sequence_number = 1;
  mirror.apply(plan);
  const auto place = mirror.append_unknown(7, 0);
  comm::StepPlan end;
  end.sequence_number = 2;
  end.ends = {7};
  mirror.apply(end);
  mirror.learn(place, 50);
  plan.sequence_number = 3;
  mirror.apply(plan);
  mirror.learn(place, 50);
  EXPECT_THAT(mirror.sequence(7).token_ids, ElementsAre(1, 2, 3, 4, 5, 6));
}

// A plan that starts sequence 7, which repeats itself, and computes it.
comm::StepPlan repeating_plan() {
  comm::StepPlan plan;
  plan.starts = {start_of(7, {1, 2, 50, 51, 1, 2})};
  plan.entries = {entry_of(7, 0, 6, true, {8, 2})};
  plan.entries[0].max_drafts = 2;
  return plan;
}

comm::PlanEntry at_last_token(std::uint64_t id, std::int32_t max_drafts,
                              std::vector<std::int32_t> blocks) {
  comm::PlanEntry entry = entry_of(id, comm::kAtLastToken, 1, true, std::move(blocks));
  entry.max_drafts = max_drafts;
  return entry;
}

// A step brings a token and the drafts of it that were right; the next one begins behind them.
TEST(SequenceMirror, TakesAcceptedDraftsAsComputed) {
  SequenceMirror mirror(kLimits);
  mirror.apply(repeating_plan());
  EXPECT_THAT(mirror.draft(7, 5, true), ElementsAre(50, 51));
  const auto place = mirror.append_unknown(7, 0);
  const std::vector<comm::SampledToken> three = {{7, 50, 0, {}}, {7, 51, 0, {}}, {7, 52, 0, {}}};
  mirror.learn(place, three);
  EXPECT_THAT(mirror.sequence(7).token_ids, ElementsAre(1, 2, 50, 51, 1, 2, 50, 51, 52));
  EXPECT_EQ(mirror.sequence(7).num_computed, 8);
  mirror.apply(with_entry(entry_of(7, 8, 1, true, {4})));
  EXPECT_EQ(mirror.sequence(7).num_computed, 9);
  mirror.learn(mirror.append_unknown(7, 0), std::span(three).first(1));
  EXPECT_EQ(mirror.sequence(7).num_computed, 9);
  mirror.apply(with_entry(at_last_token(7, 2, {})));
  EXPECT_EQ(mirror.sequence(7).num_computed, 10);
}

TEST(SequenceMirror, TakesAcceptedDraftsThatAPlanBringsAsComputed) {
  SequenceMirror mirror(kLimits);
  mirror.apply(repeating_plan());
  EXPECT_THAT(mirror.draft(7, 5, true), ElementsAre(50, 51));
  comm::StepPlan plan = with_entry(entry_of(7, 8, 1, true, {4}));
  plan.sampled = {{7, 50}, {7, 51}, {7, 52}};
  mirror.apply(plan);
  EXPECT_THAT(mirror.sequence(7).token_ids, ElementsAre(1, 2, 50, 51, 1, 2, 50, 51, 52));
  EXPECT_EQ(mirror.sequence(7).num_computed, 9);
}

// A plan that brings more tokens than can have been drawn does not fit the next entry.
TEST(SequenceMirror, TakesNoMoreTokensAsComputedThanThereWereDrafts) {
  SequenceMirror mirror(kLimits);
  mirror.apply(repeating_plan());
  EXPECT_THAT(mirror.draft(7, 1, true), ElementsAre(50));
  comm::StepPlan plan = with_entry(entry_of(7, 8, 1, true, {4}));
  plan.sampled = {{7, 50}, {7, 51}, {7, 52}};
  EXPECT_THAT([&] { mirror.apply(plan); },
              ThrowsMessage<Error>(HasSubstr("is not 7, where the last entry ended")));
}

TEST(SequenceMirror, RefusesDraftsWithoutRoomOrBeforeTheLastToken) {
  const auto refuses = [](comm::PlanEntry entry, const std::string& message) {
    SequenceMirror mirror(kLimits);
    mirror.apply(first_plan());
    EXPECT_THAT([&] { mirror.apply(with_entry(entry)); },
                ThrowsMessage<Error>(HasSubstr("sequence 7: " + message)));
  };
  refuses(at_last_token(7, 3, {}), "new_blocks leave a table of 2 blocks of 4, too few for 9");
  refuses(at_last_token(7, -1, {}), "max_drafts -1 is negative");
  comm::PlanEntry silent = at_last_token(7, 2, {});
  silent.samples = false;
  refuses(silent, "max_drafts 2 where samples is not set");
  comm::PlanEntry two = at_last_token(7, 0, {});
  two.num_tokens = 2;
  refuses(two, "num_tokens 2 reaches beyond the 6 known tokens");
  refuses(entry_of(7, -2, 1, true, {}), "first_position -2 is negative");

  SequenceMirror mirror(kLimits);
  comm::StepPlan plan = first_plan();
  plan.entries = {at_last_token(7, 0, {8, 2})};
  EXPECT_THAT([&] { mirror.apply(plan); },
              ThrowsMessage<Error>(HasSubstr("no token before it is computed")));
}

TEST(SequenceMirror, FollowsASequenceFromPrefillToItsEnd) {
  SequenceMirror mirror(kLimits);
  mirror.apply(first_plan());
  EXPECT_THAT(mirror.sequence(7).block_table, ElementsAre(8, 2));
  mirror.apply(with_entry(entry_of(7, 5, 1, true, {})));
  mirror.append(7, 50);
  EXPECT_THAT(mirror.sequence(7).token_ids, ElementsAre(1, 2, 3, 4, 5, 6, 50));
  EXPECT_EQ(mirror.sequence(7).num_prompt_tokens, 6);
  mirror.apply(with_entry(entry_of(7, 6, 1, true, {})));
  mirror.append(7, 51);
  mirror.append(7, 52);
  mirror.apply(with_entry(entry_of(7, 7, 2, true, {5})));
  EXPECT_THAT(mirror.sequence(7).block_table, ElementsAre(8, 2, 5));
  EXPECT_EQ(mirror.sequence(7).num_computed, 9);
  comm::StepPlan last;
  last.ends = {7};
  mirror.apply(last);
  EXPECT_EQ(mirror.size(), 0u);
}

TEST(SequenceMirror, TheFirstEntryMayBeginAfterACachedPrefix) {
  SequenceMirror mirror(kLimits);
  comm::StepPlan plan;
  plan.starts = {start_of(7, {1, 2, 3, 4, 5, 6})};
  plan.entries = {entry_of(7, 4, 2, true, {1, 0})};
  mirror.apply(plan);
  EXPECT_EQ(mirror.sequence(7).num_computed, 6);
}

TEST(SequenceMirror, APreemptedSequenceEndsAndStartsInOnePlan) {
  SequenceMirror mirror(kLimits);
  mirror.apply(first_plan());
  comm::StepPlan plan = first_plan();
  plan.ends = {7};
  plan.starts[0].num_prompt_tokens = 4;
  mirror.apply(plan);
  EXPECT_EQ(mirror.sequence(7).num_prompt_tokens, 4);
  EXPECT_EQ(mirror.sequence(7).num_computed, 5);
}

TEST(SequenceMirror, CountsTokensOnlyForPenaltiesAndPromptApartFromAnswer) {
  SequenceMirror mirror(kLimits);
  comm::StepPlan plan;
  plan.starts = {start_of(1, {5, 5, 6, 6}), start_of(2, {5, 5, 6, 6})};
  plan.starts[0].num_prompt_tokens = 3;
  plan.starts[0].sampling.frequency_penalty = 0.1f;
  mirror.apply(plan);
  mirror.append(1, 6);
  mirror.append(1, 9);
  mirror.append(2, 9);
  const auto counts = mirror.sequence(1).counts.entries();
  ASSERT_EQ(counts.size(), 3u);
  EXPECT_EQ(std::pair(counts[0].token_id, counts[0].in_answer), std::pair(5, 0));
  EXPECT_EQ(std::pair(counts[1].token_id, counts[1].in_answer), std::pair(6, 2));
  EXPECT_EQ(std::pair(counts[2].token_id, counts[2].in_answer), std::pair(9, 1));
  EXPECT_TRUE(mirror.sequence(2).counts.entries().empty());
}

struct Malformed {
  std::string message;
  std::function<void(comm::StepPlan&)> spoil;  // given first_plan()
};

TEST(SequenceMirror, RefusesMalformedFirstPlansByFieldAndSequence) {
  const auto sampling = [](comm::StepPlan& plan) -> comm::SamplingParams& {
    return plan.starts[0].sampling;
  };
  const std::vector<Malformed> cases = {
      {"sequence 9: ends name a sequence that is not known", [](auto& p) { p.ends = {9}; }},
      {"sequence 7: starts name a sequence that is already known",
       [](auto& p) { p.starts.push_back(p.starts[0]); }},
      {"sequence 7: num_prompt_tokens 0", [](auto& p) { p.starts[0].num_prompt_tokens = 0; }},
      {"sequence 7: num_prompt_tokens 7", [](auto& p) { p.starts[0].num_prompt_tokens = 7; }},
      {"sequence 7: token_ids 100 is outside", [](auto& p) { p.starts[0].token_ids[2] = 100; }},
      {"sequence 7: token_ids -1 is outside", [](auto& p) { p.starts[0].token_ids[5] = -1; }},
      {"sequence 7: entries name it twice", [](auto& p) { p.entries.push_back(p.entries[0]); }},
      {"sequence 8: is not known", [](auto& p) { p.entries[0].sequence_id = 8; }},
      {"sequence 7: num_tokens 0", [](auto& p) { p.entries[0].num_tokens = 0; }},
      {"sequence 7: num_tokens 7 reaches beyond the 6",
       [](auto& p) { p.entries[0].num_tokens = 7; }},
      {"sequence 7: num_tokens 2147483647 reaches",
       [](auto& p) {
         p.entries[0].num_tokens = 2147483647;
         p.entries[0].first_position = 2147483647;
       }},
      {"sequence 7: first_position -2", [](auto& p) { p.entries[0].first_position = -2; }},
      {"sequence 7: samples is set", [](auto& p) { p.entries[0].samples = true; }},
      {"sequence 7: new_blocks 10 is not one of the 10",
       [](auto& p) { p.entries[0].new_blocks[1] = 10; }},
      {"sequence 7: new_blocks -1 is not", [](auto& p) { p.entries[0].new_blocks[0] = -1; }},
      {"sequence 7: new_blocks leave a table of 1 blocks of 4, too few for 5",
       [](auto& p) { p.entries[0].new_blocks.pop_back(); }},
      {"sequence 7: temperature", [&](auto& p) { sampling(p).temperature = -0.1f; }},
      {"sequence 7: temperature", [&](auto& p) { sampling(p).temperature = std::nanf(""); }},
      {"sequence 7: temperature", [&](auto& p) { sampling(p).temperature = INFINITY; }},
      {"sequence 7: top_p", [&](auto& p) { sampling(p).top_p = 0.0f; }},
      {"sequence 7: top_p", [&](auto& p) { sampling(p).top_p = 1.01f; }},
      {"sequence 7: top_k", [&](auto& p) { sampling(p).top_k = -1; }},
      {"sequence 7: min_p", [&](auto& p) { sampling(p).min_p = std::nanf(""); }},
      {"sequence 7: repetition_penalty", [&](auto& p) { sampling(p).repetition_penalty = 0.0f; }},
      {"sequence 7: presence_penalty", [&](auto& p) { sampling(p).presence_penalty = INFINITY; }},
      {"sequence 7: frequency_penalty",
       [&](auto& p) { sampling(p).frequency_penalty = std::nanf(""); }},
      {"sequence 7: logprobs 21", [&](auto& p) { sampling(p).logprobs = 21; }},
      {"sequence 7: logprobs -2", [&](auto& p) { sampling(p).logprobs = -2; }},
      {"sequence 7: min_tokens", [&](auto& p) { sampling(p).min_tokens = -1; }},
      {"sequence 7: stop_token_ids 100",
       [&](auto& p) {
         sampling(p).stop_token_ids = {3, 100};
       }},
      {"sequence 7: logit_bias -4",
       [&](auto& p) {
         sampling(p).logit_bias = {{-4, 1.0f}};
       }},
      {"sequence 7: logit_bias 5 is not in ascending",
       [&](auto& p) {
         sampling(p).logit_bias = {{5, 1.0f}, {5, 2.0f}};
       }},
      {"sequence 7: logit_bias nan",
       [&](auto& p) {
         sampling(p).logit_bias = {{4, NAN}};
       }},
  };
  for (const Malformed& malformed : cases) {
    SequenceMirror mirror(kLimits);
    comm::StepPlan plan = first_plan();
    malformed.spoil(plan);
    EXPECT_THAT([&] { mirror.apply(plan); }, ThrowsMessage<Error>(HasSubstr(malformed.message)));
  }
}

TEST(SequenceMirror, RefusesEntriesThatDoNotContinueTheLast) {
  for (const std::int32_t first : {0, 4, 6}) {
    SequenceMirror mirror(kLimits);
    mirror.apply(first_plan());
    EXPECT_THAT([&] { mirror.apply(with_entry(entry_of(7, first, 1, false, {}))); },
                ThrowsMessage<Error>(HasSubstr("is not 5, where the last entry ended")));
  }
}

TEST(SequenceMirror, RefusesTokensAndQuestionsAboutWhatItDoesNotKnow) {
  SequenceMirror mirror(kLimits);
  mirror.apply(first_plan());
  EXPECT_THROW(mirror.append(7, 100), Error);
  EXPECT_THROW(mirror.append(8, 1), Error);
  EXPECT_THROW(mirror.sequence(8), Error);
  EXPECT_THROW(SequenceMirror({.block_size = 0, .num_blocks = 1, .vocab_size = 1}), Error);
}

}  // namespace
}  // namespace lockstep::shard

#include "shard/step_digest.h"

#include <gtest/gtest.h>

#include <functional>
#include <set>
#include <vector>

namespace lockstep::shard {
namespace {

struct Step {
  std::uint64_t previous = 0;
  comm::StepPlan plan;
  std::vector<comm::SampledToken> sampled;
  std::uint64_t digest() const { return step_digest(previous, plan, sampled); }
};

Step example() {
  Step step;
  step.previous = 99;
  step.plan.epoch = 3;
  step.plan.sequence_number = 8;
  step.plan.ends = {4};
  comm::SequenceStart start;
  start.sequence_id = 5;
  start.num_prompt_tokens = 2;
  start.token_ids = {10, 11, 12};
  start.sampling.stop_token_ids = {2};
  start.sampling.logit_bias = {{6, 0.5f}};
  step.plan.starts = {start};
  step.plan.sampled = {{4, 31}};
  comm::PlanEntry entry;
  entry.sequence_id = 5;
  entry.num_tokens = 3;
  entry.new_blocks = {1, 0};
  step.plan.entries = {entry};
  comm::SampledToken token;
  token.sequence_id = 5;
  token.token_id = 40;
  token.logprob = -0.5f;
  token.top_logprobs = {{40, -0.5f}, {41, -1.5f}};
  step.sampled = {token};
  return step;
}

TEST(StepDigest, IsAFunctionOfItsInput) { EXPECT_EQ(example().digest(), example().digest()); }

TEST(StepDigest, ChangesWithEveryField) {
  const auto sampling = [](Step& s) -> comm::SamplingParams& { return s.plan.starts[0].sampling; };
  const std::vector<std::function<void(Step&)>> changes = {
      [](Step&) {},
      [](Step& s) { ++s.previous; },
      [](Step& s) { ++s.plan.epoch; },
      [](Step& s) { ++s.plan.sequence_number; },
      [](Step& s) { s.plan.shutdown = true; },
      [](Step& s) { s.plan.ends = {}; },
      [](Step& s) { s.plan.ends = {6}; },
      [](Step& s) { s.plan.starts = {}; },
      [](Step& s) { s.plan.sampled = {}; },
      [](Step& s) { ++s.plan.sampled[0].sequence_id; },
      [](Step& s) { ++s.plan.sampled[0].token_id; },
      [](Step& s) { ++s.plan.starts[0].sequence_id; },
      [](Step& s) { ++s.plan.starts[0].num_prompt_tokens; },
      [](Step& s) { ++s.plan.starts[0].token_ids[2]; },
      [&](Step& s) { sampling(s).temperature = 0.1f; },
      [&](Step& s) { sampling(s).top_p = 0.1f; },
      [&](Step& s) { sampling(s).top_k = 7; },
      [&](Step& s) { sampling(s).min_p = 0.1f; },
      [&](Step& s) { sampling(s).repetition_penalty = 0.1f; },
      [&](Step& s) { sampling(s).presence_penalty = 0.1f; },
      [&](Step& s) { sampling(s).frequency_penalty = 0.1f; },
      [&](Step& s) { sampling(s).seed = 7; },
      [&](Step& s) { sampling(s).logprobs = 7; },
      [&](Step& s) { sampling(s).min_tokens = 7; },
      [&](Step& s) { sampling(s).stop_token_ids = {3}; },
      [&](Step& s) { sampling(s).logit_bias[0].first = 7; },
      [&](Step& s) { sampling(s).logit_bias[0].second = 0.75f; },
      [](Step& s) { s.plan.entries = {}; },
      [](Step& s) { ++s.plan.entries[0].sequence_id; },
      [](Step& s) { ++s.plan.entries[0].first_position; },
      [](Step& s) { ++s.plan.entries[0].num_tokens; },
      [](Step& s) { s.plan.entries[0].samples = true; },
      [](Step& s) { ++s.plan.entries[0].max_drafts; },
      [](Step& s) {
        s.plan.entries[0].new_blocks = {0, 1};
      },
      [](Step& s) { s.sampled = {}; },
      [](Step& s) { ++s.sampled[0].sequence_id; },
      [](Step& s) { ++s.sampled[0].token_id; },
      [](Step& s) { s.sampled[0].logprob = -0.50000006f; },
      [](Step& s) { s.sampled[0].top_logprobs.pop_back(); },
      [](Step& s) { ++s.sampled[0].top_logprobs[1].token_id; },
      [](Step& s) { s.sampled[0].top_logprobs[1].logprob = -1.5000001f; },
  };
  std::set<std::uint64_t> digests;
  for (std::size_t i = 0; i < changes.size(); ++i) {
    Step step = example();
    changes[i](step);
    EXPECT_TRUE(digests.insert(step.digest()).second) << "change " << i;
  }
}

}  // namespace
}  // namespace lockstep::shard

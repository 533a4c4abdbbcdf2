#include "comm/plan_codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "tests/comm/codec_bytes.h"

namespace lockstep::comm {
namespace {

using nlohmann::json;
using testing::HasSubstr;

StepPlan example_plan() {
  SamplingParams sampling;
  sampling.temperature = 0.5f;
  sampling.top_k = 40;
  sampling.seed = ~0ull;
  sampling.stop_token_ids = {2};
  return {.epoch = 1ull << 63,
          .sequence_number = 7,
          .shutdown = true,
          .ends = {5, 1ull << 40},
          .starts = {{9, sampling, 2, {1, 300000, 2}}},
          .sampled = {{4, 31}},
          .entries = {{9, 0, 3, true, 5, {0, 77}}, {4, 128, 1, false, 0, {}}}};
}

json example_plan_json() {
  return {{"epoch", 1ull << 63},
          {"sequence_number", 7},
          {"shutdown", true},
          {"ends", {5, 1ull << 40}},
          {"starts",
           {{{"sequence_id", 9},
             {"sampling",
              {{"temperature", 0.5}, {"top_k", 40}, {"seed", ~0ull}, {"stop_token_ids", {2}}}},
             {"num_prompt_tokens", 2},
             {"token_ids", {1, 300000, 2}}}}},
          {"sampled", {{{"sequence_id", 4}, {"token_id", 31}}}},
          {"entries",
           {{{"sequence_id", 9},
             {"first_position", 0},
             {"num_tokens", 3},
             {"samples", true},
             {"max_drafts", 5},
             {"new_blocks", {0, 77}}},
            {{"sequence_id", 4}, {"first_position", 128}, {"num_tokens", 1}}}}};
}

TEST(PlanCodec, WritesThePlansFieldsByName) {
  EXPECT_EQ(json_of(encode(example_plan())), example_plan_json());
}

TEST(PlanCodec, ReadsEveryFieldOfAPlan) {
  const StepPlan plan = decode_step_plan(bytes_of(msgpack_of(example_plan_json())));
  EXPECT_EQ(plan.epoch, 1ull << 63);
  EXPECT_EQ(plan.sequence_number, 7u);
  EXPECT_TRUE(plan.shutdown);
  EXPECT_EQ(plan.ends, (std::vector<std::uint64_t>{5, 1ull << 40}));
  ASSERT_EQ(plan.starts.size(), 1u);
  EXPECT_EQ(plan.starts[0].sampling.temperature, 0.5f);
  EXPECT_EQ(plan.starts[0].sampling.seed, ~0ull);
  EXPECT_EQ(plan.starts[0].token_ids, (std::vector<std::int32_t>{1, 300000, 2}));
  ASSERT_EQ(plan.sampled.size(), 1u);
  EXPECT_EQ(plan.sampled[0].sequence_id, 4u);
  EXPECT_EQ(plan.sampled[0].token_id, 31);
  ASSERT_EQ(plan.entries.size(), 2u);
  EXPECT_TRUE(plan.entries[0].samples);
  EXPECT_EQ(plan.entries[0].max_drafts, 5);
  EXPECT_EQ(plan.entries[0].new_blocks, (std::vector<std::int32_t>{0, 77}));
  EXPECT_EQ(plan.entries[1].first_position, 128);
  EXPECT_FALSE(plan.entries[1].samples);
  EXPECT_EQ(encode(plan), encode(example_plan()));
}

TEST(PlanCodec, GivesAHeartbeatFewBytes) {
  StepPlan heartbeat;
  heartbeat.epoch = 3;
  heartbeat.sequence_number = 4;
  const StepPlan plan = decode_step_plan(bytes_of(encode(heartbeat)));
  EXPECT_EQ(plan.sequence_number, 4u);
  EXPECT_TRUE(plan.entries.empty());
  EXPECT_LT(encode(plan).size(), 32u);
}

TEST(PlanCodec, RoundTripsReports) {
  StepReport report{.epoch = 1,
                    .sequence_number = 2,
                    .rank = 3,
                    .underway = true,
                    .digest = ~0ull,
                    .compute_us = ~0u,
                    .wait_us = 5,
                    .product_us = 6,
                    .attention_us = 7,
                    .all_reduce_us = 8,
                    .elementwise_us = 9,
                    .sampling_us = 10,
                    .plan_wait_us = 11,
                    .rows_on_host = 12,
                    .drafts = 13,
                    .accepted_drafts = 14,
                    .sampled = {{8, 99, -1.5f, {{99, -1.5f}, {1, -2.0f}}}, {9, 1, 0, {}}}};
  const json expected{
      {"epoch", 1},
      {"sequence_number", 2},
      {"rank", 3},
      {"underway", true},
      {"digest", ~0ull},
      {"compute_us", ~0u},
      {"wait_us", 5},
      {"product_us", 6},
      {"attention_us", 7},
      {"all_reduce_us", 8},
      {"elementwise_us", 9},
      {"sampling_us", 10},
      {"plan_wait_us", 11},
      {"rows_on_host", 12},
      {"drafts", 13},
      {"accepted_drafts", 14},
      {"sampled",
       {{{"sequence_id", 8},
         {"token_id", 99},
         {"logprob", -1.5},
         {"top_logprobs",
          {{{"token_id", 99}, {"logprob", -1.5}}, {{"token_id", 1}, {"logprob", -2.0}}}}},
        {{"sequence_id", 9}, {"token_id", 1}}}}};
  EXPECT_EQ(json_of(encode(report)), expected);
  EXPECT_EQ(json_of(encode(decode_step_report(bytes_of(encode(report))))), expected);
}

void expect_error(const std::string& bytes, const std::string& message) {
  try {
    decode_step_plan(bytes_of(bytes));
    FAIL() << "accepted; expected: " << message;
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(message));
  }
}

TEST(PlanCodec, NamesTheFieldThatIsWrongByItsPath) {
  json plan = example_plan_json();
  plan["entries"][1]["num_tokens"] = "many";
  expect_error(msgpack_of(plan), "step plan: 'entries[1].num_tokens' must be an integer");
  plan = example_plan_json();
  plan["starts"][0]["sampling"]["colour"] = 1;
  expect_error(msgpack_of(plan), "'starts[0].sampling.colour' is not a field");
  plan = example_plan_json();
  plan.erase("epoch");
  expect_error(msgpack_of(plan), "'epoch' is required");
  expect_error("\xDD\xFF\xFF\xFF\xFF", "step plan: the message claims more values");
  expect_error(encode(example_plan()) + "x", "belong to nothing");
}

}  // namespace
}  // namespace lockstep::comm

#include "coordinator/stop_conditions.h"

#include <gtest/gtest.h>

namespace lockstep::coordinator {
namespace {

const StopConditions kConditions{
    .eos_token_ids = {2, 5}, .stop_token_ids = {7}, .min_tokens = 2, .max_tokens = 4};

TEST(StopConditions, AnOrdinaryTokenGoesOn) { EXPECT_FALSE(check_stop(kConditions, 9, 3)); }

TEST(StopConditions, EndOfSequenceStopsWithoutAReason) {
  const auto finish = check_stop(kConditions, 5, 3);
  ASSERT_TRUE(finish);
  EXPECT_EQ(to_string(finish->reason), "stop");
  EXPECT_EQ(finish->stop_reason, "");
  EXPECT_TRUE(finish->by_token);
}

TEST(StopConditions, TheClientsStopTokenIsNamed) {
  const auto finish = check_stop(kConditions, 7, 3);
  ASSERT_TRUE(finish);
  EXPECT_EQ(to_string(finish->reason), "stop");
  EXPECT_EQ(finish->stop_reason, "7");
}

TEST(StopConditions, StopTokensDoNotCountAmongTheFirstMinTokens) {
  EXPECT_FALSE(check_stop(kConditions, 7, 2));
  EXPECT_FALSE(check_stop(kConditions, 2, 1));
  EXPECT_TRUE(check_stop(kConditions, 2, 3));
}

TEST(StopConditions, TheLastTokenAllowedIsALengthStop) {
  const auto finish = check_stop(kConditions, 9, 4);
  ASSERT_TRUE(finish);
  EXPECT_EQ(to_string(finish->reason), "length");
  EXPECT_FALSE(finish->by_token);
}

TEST(StopConditions, AStopTokenAtTheLimitIsAStop) {
  EXPECT_EQ(to_string(check_stop(kConditions, 2, 4)->reason), "stop");
}

}  // namespace
}  // namespace lockstep::coordinator

#include "shard/gpu/sampling_lists.h"

#include <gtest/gtest.h>

namespace lockstep::shard {
namespace {

// Whether there is room, of `room` entries, for a prompt of three tokens and an answer of two, of
// which the last may not be known yet.
bool has_room(std::int32_t room, std::int32_t last_token, bool known) {
  comm::SamplingParams params;
  params.presence_penalty = 1.0f;
  TokenCounts counts;
  for (const std::int32_t token : {1, 2, 3}) counts.add_prompt_token(token);
  counts.add_answer_token(4);
  if (known) counts.add_answer_token(last_token);
  SamplingLists lists(room);
  return lists.add({.params = &params,
                    .counts = &counts,
                    .sampled_row = known ? -1 : 0,
                    .num_answer_tokens = 2,
                    .position = 5});
}

// A token that is new, and one that is among the counts.
TEST(SamplingLists, HaveTheSameRoomWhetherTheLastTokenIsKnown) {
  for (const std::int32_t last_token : {7, 2, 4}) {
    for (const bool known : {false, true}) {
      EXPECT_TRUE(has_room(5, last_token, known)) << last_token;
      EXPECT_FALSE(has_room(4, last_token, known)) << last_token;
    }
  }
}

TEST(SamplingLists, OfAPromptAloneTakeARoomForEachToken) {
  comm::SamplingParams params;
  params.repetition_penalty = 1.5f;
  TokenCounts counts;
  for (const std::int32_t token : {1, 2, 2}) counts.add_prompt_token(token);
  const SamplingInput input{.params = &params, .counts = &counts, .position = 3};
  SamplingLists lists(3);
  EXPECT_TRUE(lists.add(input));
  EXPECT_FALSE(lists.add(input));  // beside the first
  lists.clear();
  EXPECT_TRUE(lists.add(input));
}

}  // namespace
}  // namespace lockstep::shard

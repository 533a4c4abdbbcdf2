#include "shard/ngram_drafter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace lockstep::shard {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

using Tokens = std::vector<std::int32_t>;

// A drafter whose pace does not matter: it has been right so often.
NgramDrafter eager() {
  NgramDrafter drafter;
  for (std::int32_t drafts = 2; drafts < 100; drafts = 2 * drafts + 1)
    drafter.learn(drafts, drafts);
  return drafter;
}

TEST(NgramDrafter, GoesOnAsAfterTheSameTokensBefore) {
  EXPECT_THAT(eager().draft(Tokens{5, 6, 7, 8, 9, 5, 6}, 3, true), ElementsAre(7, 8, 9));
}

TEST(NgramDrafter, GuessesNothingWhereNothingRepeatsItself) {
  EXPECT_THAT(eager().draft(Tokens{5}, 3, true), IsEmpty());
  EXPECT_THAT(eager().draft(Tokens{5, 6, 7, 8}, 3, true), IsEmpty());
  EXPECT_THAT(eager().draft(Tokens{5, 6, 7, 8, 6}, 3, true), IsEmpty());  // one token is no run
  EXPECT_THAT(eager().draft(Tokens{5, 6, 5, 6}, 0, true), IsEmpty());
}

TEST(NgramDrafter, NeedsALongerRunInCompany) {
  EXPECT_THAT(eager().draft(Tokens{5, 6, 7, 9, 5, 6, 7}, 1, true), ElementsAre(9));
  EXPECT_THAT(eager().draft(Tokens{5, 6, 7, 9, 5, 6, 7}, 1, false), IsEmpty());
  EXPECT_THAT(eager().draft(Tokens{5, 6, 7, 8, 9, 5, 6, 7, 8}, 1, false), ElementsAre(9));
}

TEST(NgramDrafter, NeedsALongerRunInALongText) {
  Tokens tokens(NgramDrafter::kShortText - 4);
  std::iota(tokens.begin(), tokens.end(), 100);
  tokens.insert(tokens.end(), {7, 102, 103});
  EXPECT_THAT(eager().draft(tokens, 1, true), ElementsAre(104));
  tokens.back() = 8;
  tokens.insert(tokens.end(), {102, 103});
  EXPECT_THAT(eager().draft(tokens, 1, true), IsEmpty());
  tokens.insert(tokens.end(), {104, 105});
  EXPECT_THAT(eager().draft(tokens, 1, true), ElementsAre(106));
}

TEST(NgramDrafter, PrefersTheLongestRunAndOfThoseTheLatest) {
  EXPECT_THAT(eager().draft(Tokens{1, 2, 3, 10, 9, 2, 3, 20, 1, 2, 3}, 1, true), ElementsAre(10));
  EXPECT_THAT(eager().draft(Tokens{2, 3, 10, 9, 2, 3, 20, 1, 2, 3}, 1, true), ElementsAre(20));
}

TEST(NgramDrafter, ComparesNoMoreThanTheLongestRun) {
  // The whole run, then 1; its end alone, then 2; the whole run.
  Tokens tokens;
  const auto add_run = [&](std::size_t length) {
    for (std::size_t left = length; left-- > 0;) tokens.push_back(100 + static_cast<int>(left));
  };
  add_run(NgramDrafter::kLongest + 1);
  tokens.push_back(1);
  add_run(NgramDrafter::kLongest);
  tokens.push_back(2);
  add_run(NgramDrafter::kLongest + 1);
  EXPECT_THAT(eager().draft(tokens, 1, true), ElementsAre(2));
}

// What repeats itself up to the end goes on and on.
TEST(NgramDrafter, RepeatsAPeriodBeyondTheEnd) {
  EXPECT_THAT(eager().draft(Tokens{9, 1, 2, 3, 1, 2, 3, 1, 2}, 7, true),
              ElementsAre(3, 1, 2, 3, 1, 2, 3));
  EXPECT_THAT(eager().draft(Tokens{4, 4, 4}, 5, true), ElementsAre(4, 4, 4, 4, 4));
}

TEST(NgramDrafter, GuessesMoreAfterRightGuessesAndFewerAfterWrongOnes) {
  const Tokens tokens = {1, 2, 1, 2};
  NgramDrafter drafter;
  std::vector<std::size_t> counts;
  const auto step = [&](std::int32_t most_right) {
    const auto drafts = static_cast<std::int32_t>(drafter.draft(tokens, 40, true).size());
    counts.push_back(static_cast<std::size_t>(drafts));
    drafter.learn(drafts, std::min(drafts, most_right));
  };
  for (int i = 0; i < 4; ++i) step(100);
  step(6);
  step(0);
  step(0);
  step(100);
  step(100);
  EXPECT_THAT(counts, ElementsAre(2, 5, 11, 23, 40, 6, 1, 1, 3));
}

TEST(NgramDrafter, IsNoMoreDaringAfterFewerGuessesThanItWouldHaveMade) {
  const Tokens tokens = {1, 2, 1, 2};
  NgramDrafter drafter;
  EXPECT_EQ(drafter.draft(tokens, 1, true).size(), 1u);  // of two
  drafter.learn(1, 1);
  EXPECT_EQ(drafter.draft(tokens, 40, true).size(), 2u);
}

}  // namespace
}  // namespace lockstep::shard

#include "coordinator/answer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/coordinator/fake_tokenizer.h"

namespace lockstep::coordinator {
namespace {

using ::testing::ElementsAre;
using testing::FakeTokenizer;

// 0 "Hel", 1 "lo", 2 " ST", 3 "OP", 4 "me", 5 and 6 the halves of "é", 7 the control token <end>
const FakeTokenizer& tokenizer() {
  static const FakeTokenizer instance({"Hel", "lo", " ST", "OP", "me", "\xC3", "\xA9", "<end>"}, 7);
  return instance;
}

comm::SampledToken token(std::int32_t id) { return {0, id, -1.5f, {}}; }

const Finish kLength{FinishReason::length, "", false};
const Finish kEos{FinishReason::stop, "", true};

// The text of all tokens, the last of which ends the answer as `last` says.
struct Outcome {
  std::string text;
  std::vector<std::string> pieces;
  std::optional<Finish> finish;
  std::int32_t num_tokens = 0;
};
Outcome run(AnswerOptions options, const std::vector<std::int32_t>& ids,
            std::optional<Finish> last) {
  Answer answer(tokenizer(), std::move(options));
  Outcome result;
  for (std::size_t i = 0; i < ids.size() && !result.finish; ++i) {
    comm::Delta delta;
    result.finish = answer.push(token(ids[i]), i + 1 == ids.size() ? last : std::nullopt, delta);
    EXPECT_THAT(delta.token_ids, ElementsAre(ids[i]));
    result.pieces.push_back(delta.text);
    result.text += delta.text;
  }
  result.num_tokens = answer.num_tokens();
  return result;
}

TEST(Answer, StreamsTextTokenByToken) {
  const Outcome r = run({}, {0, 1}, std::nullopt);
  EXPECT_THAT(r.pieces, ElementsAre("Hel", "lo"));
  EXPECT_FALSE(r.finish);
  EXPECT_EQ(r.num_tokens, 2);
}

TEST(Answer, NeverShowsHalfACharacter) {
  EXPECT_THAT(run({}, {5, 6}, std::nullopt).pieces, ElementsAre("", "\xC3\xA9"));
}

TEST(Answer, ShowsWhatIsLeftOfACharacterAtTheEnd) {
  EXPECT_EQ(run({}, {0, 5}, kLength).text, "Hel\xEF\xBF\xBD");
}

TEST(Answer, LeavesOutTheTextOfTheTokenThatMarksTheEnd) {
  AnswerOptions options;
  options.skip_special_tokens = false;
  EXPECT_EQ(run(options, {0, 7}, kEos).text, "Hel");
  EXPECT_EQ(run(options, {0, 1}, kEos).text, "Hel");
  options.include_stop_str_in_output = true;
  EXPECT_EQ(run(options, {0, 7}, kEos).text, "Hel<end>");
}

TEST(Answer, KeepsTheFirstSpaceOfATextThatGoesOn) {
  FakeTokenizer tokenizer({" a"}, 1);
  tokenizer.strip_first_space();
  const auto text = [&](bool begins_text) {
    AnswerOptions options;
    options.begins_text = begins_text;
    comm::Delta delta;
    Answer(tokenizer, options).push(token(0), std::nullopt, delta);
    return delta.text;
  };
  EXPECT_EQ(text(false), " a");
  EXPECT_EQ(text(true), "a");
}

TEST(Answer, EndsAtAStopStringOverTwoTokens) {
  AnswerOptions options;
  options.stop = {"STOP"};
  const Outcome r = run(options, {0, 1, 2, 3, 4}, kLength);
  EXPECT_THAT(r.pieces, ElementsAre("Hel", "lo", " ", ""));
  ASSERT_TRUE(r.finish);
  EXPECT_EQ(to_string(r.finish->reason), "stop");
  EXPECT_EQ(r.finish->stop_reason, "STOP");
  EXPECT_EQ(r.num_tokens, 4);
}

TEST(Answer, GivesOutHeldTextWhenTheStopStringDoesNotCome) {
  AnswerOptions options;
  options.stop = {"STOP"};
  EXPECT_THAT(run(options, {0, 2, 4}, std::nullopt).pieces, ElementsAre("Hel", " ", "STme"));
  EXPECT_EQ(run(options, {0, 2}, kLength).text, "Hel ST");
  EXPECT_EQ(run(options, {0, 2, 7}, kEos).text, "Hel ST");
}

TEST(Answer, PrefersTheStopStringToTheLengthLimitOnTheSameToken) {
  AnswerOptions options;
  options.stop = {"STOP"};
  options.include_stop_str_in_output = true;
  const Outcome r = run(options, {0, 2, 3}, kLength);
  EXPECT_EQ(r.text, "Hel STOP");
  EXPECT_EQ(r.finish->stop_reason, "STOP");
}

TEST(Answer, LooksForNoStopStringAmongTheFirstMinTokens) {
  AnswerOptions options;
  options.stop = {"STOP"};
  options.min_tokens = 2;
  const Outcome passes = run(options, {2, 3, 4}, std::nullopt);
  EXPECT_EQ(passes.text, " STOPme");
  EXPECT_FALSE(passes.finish);
  EXPECT_EQ(run(options, {4, 2, 3}, std::nullopt).finish->stop_reason, "STOP");
}

TEST(Answer, TellsLogprobsWithTheTokensBytes) {
  AnswerOptions options;
  options.logprobs = true;
  Answer answer(tokenizer(), options);
  comm::SampledToken sampled = token(5);
  sampled.top_logprobs = {{0, -0.25f}, {5, -1.5f}};
  comm::Delta delta;
  answer.push(sampled, std::nullopt, delta);
  ASSERT_EQ(delta.logprobs.size(), 1u);
  EXPECT_EQ(delta.logprobs[0].chosen.token, "\xC3");
  EXPECT_EQ(delta.logprobs[0].chosen.logprob, -1.5f);
  ASSERT_EQ(delta.logprobs[0].top.size(), 2u);
  EXPECT_EQ(delta.logprobs[0].top[0].token, "Hel");
  EXPECT_EQ(delta.logprobs[0].top[0].logprob, -0.25f);
}

TEST(Answer, GivesAPaddedTokenOfTheVocabularyNoText) {
  EXPECT_THAT(run({}, {0, 8, 1}, std::nullopt).pieces, ElementsAre("Hel", "", "lo"));
}

}  // namespace
}  // namespace lockstep::coordinator

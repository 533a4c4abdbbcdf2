#include "model/pre_tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace lockstep::model {
namespace {

using testing::ElementsAre;

std::vector<std::string_view> split(std::string_view name, std::string_view text) {
  std::vector<std::string_view> pieces;
  PreTokenizer(name, "test.gguf").split(text, pieces);
  return pieces;
}

TEST(PreTokenizer, Gpt2KeepsNumbersWholeAndTheirSpaceWithThem) {
  EXPECT_THAT(split("gpt2", "I've  2024 apples!\n"),
              ElementsAre("I", "'ve", " ", " 2024", " apples", "!", "\n"));
}

TEST(PreTokenizer, Gpt2ContractionsAreLowerCaseOnly) {
  EXPECT_THAT(split("gpt2", "he'll HE'LL"), ElementsAre("he", "'ll", " HE", "'", "LL"));
}

TEST(PreTokenizer, SmollmCutsAroundEveryDigitBeforeTheRest) {
  EXPECT_THAT(split("smollm", "in 2024!"), ElementsAre("in", " ", "2", "0", "2", "4", "!"));
  // White space before a digit is the end of its piece: the look-ahead takes all of it.
  EXPECT_THAT(split("smollm", "a   1   b"), ElementsAre("a", "   ", "1", "  ", " b"));
  EXPECT_THAT(split("smollm", "x\xC2\xBD"), ElementsAre("x", "\xC2\xBD"));  // U+00BD, one half
}

TEST(PreTokenizer, Llama3GroupsDigitsByThreeAndIgnoresCaseInContractions) {
  EXPECT_THAT(split("llama3", "WE'LL pay 12345"),
              ElementsAre("WE", "'LL", " pay", " ", "123", "45"));
  EXPECT_THAT(split("llama3", "it'Sok it'\xC5\xBFok"),  // U+017F is a small s
              ElementsAre("it", "'S", "ok", " it", "'\xC5\xBF", "ok"));
  EXPECT_THAT(split("llama3", "end.\n\n  next"), ElementsAre("end", ".\n\n", " ", " next"));
  EXPECT_THAT(split("llama3", "a \n \n  b"), ElementsAre("a", " \n \n", " ", " b"));
}

TEST(PreTokenizer, Qwen2CutsAroundEveryDigitAndIsLlama3Otherwise) {
  EXPECT_THAT(split("qwen2", "WE'LL pay 123"),
              ElementsAre("WE", "'LL", " pay", " ", "1", "2", "3"));
  EXPECT_THAT(split("qwen2", "end.\n\n  next"), ElementsAre("end", ".\n\n", " ", " next"));
}

TEST(PreTokenizer, TekkenCutsWhereACapitalFollowsASmallLetter) {
  EXPECT_THAT(split("tekken", "parseHTTPResponse isn't"),
              ElementsAre("parse", "HTTPResponse", " isn", "'t"));
  EXPECT_THAT(split("tekken", "it's 12"), ElementsAre("it", "'s", " ", "1", "2"));
  EXPECT_THAT(split("tekken", "a //\n/b"), ElementsAre("a", " //\n/", "b"));
  // A mark is no letter, but stands in a word, and before one.
  EXPECT_THAT(split("tekken", "ABe\u0301f!\u0301A"), ElementsAre("ABe\u0301f", "!\u0301", "A"));
}

TEST(PreTokenizer, MongolianVowelSeparatorIsNotWhiteSpace) {
  EXPECT_THAT(split("gpt2", " \xE1\xA0\x8E"), ElementsAre(" \xE1\xA0\x8E"));
}

TEST(PreTokenizer, PiecesOfNothingAreNone) { EXPECT_THAT(split("gpt2", ""), ElementsAre()); }

class PreTokenizerRuns : public testing::TestWithParam<std::string> {};

// A branch that backtracked more than once a character would reach the match limit here.
TEST_P(PreTokenizerRuns, AMegabyteOfOneCharacterIsSplitWithoutReachingTheMatchLimit) {
  constexpr std::size_t kSize = 1 << 20;
  const PreTokenizer pre_tokenizer(GetParam(), "test.gguf");
  for (const std::string run : {" ", "\n", "a", "A", "\u0301A", "1", "'"}) {
    for (const std::string& end : {std::string(), std::string("\n"), std::string("b")}) {
      const std::string text = run + std::string(kSize, run.back()) + end;
      std::vector<std::string_view> pieces;
      pre_tokenizer.split(text, pieces);
      std::string joined;
      for (const std::string_view piece : pieces) joined += piece;
      EXPECT_EQ(joined, text) << "'" << run << "' then '" << end << "'";
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, PreTokenizerRuns,
                         testing::Values("gpt2", "smollm", "llama3", "qwen2", "tekken"));

}  // namespace
}  // namespace lockstep::model

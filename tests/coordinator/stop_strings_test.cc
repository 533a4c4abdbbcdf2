#include "coordinator/stop_strings.h"

#include <gtest/gtest.h>

#include <random>

namespace lockstep::coordinator {
namespace {

TEST(StopStrings, PassTextThroughWithoutStopStrings) {
  StopStringMatcher matcher({}, false);
  EXPECT_EQ(matcher.push("abc", true).text, "abc");
  EXPECT_EQ(matcher.finish(), "");
}

TEST(StopStrings, HoldBackWhatMayBecomeAMatchAndNoMore) {
  StopStringMatcher matcher({"END"}, false);
  EXPECT_EQ(matcher.push("fooE", true).text, "foo");
  EXPECT_EQ(matcher.push("N", true).text, "");
  EXPECT_EQ(matcher.push("E", true).text, "EN");  // the new E may begin another
  EXPECT_EQ(matcher.finish(), "E");
}

TEST(StopStrings, MatchAcrossPieces) {
  StopStringMatcher matcher({"END"}, false);
  EXPECT_EQ(matcher.push("fooE", true).text, "foo");
  EXPECT_EQ(matcher.push("N", true).text, "");
  const auto output = matcher.push("Dbar", true);
  EXPECT_EQ(output.text, "");
  EXPECT_EQ(output.matched, "END");
}

TEST(StopStrings, TheFirstToBeCompleteWinsWhateverTheirOrder) {
  for (const std::vector<std::string>& stops :
       {std::vector<std::string>{"late", "ab"}, {"ab", "late"}}) {
    StopStringMatcher matcher(stops, false);
    const auto output = matcher.push("xxabyylate", true);
    EXPECT_EQ(output.text, "xx");
    EXPECT_EQ(output.matched, "ab");
  }
}

TEST(StopStrings, TheLongestOfThoseCompleteAtTheSameByteWins) {
  StopStringMatcher matcher({"b", "ab"}, false);
  const auto output = matcher.push("xab", true);
  EXPECT_EQ(output.text, "x");
  EXPECT_EQ(output.matched, "ab");
}

TEST(StopStrings, AreIncludedWhenAskedFor) {
  StopStringMatcher matcher({"\n\n"}, true);
  EXPECT_EQ(matcher.push("a\n", true).text, "a");
  const auto output = matcher.push("\nb", true);
  EXPECT_EQ(output.text, "\n\n");
  EXPECT_EQ(output.matched, "\n\n");
}

TEST(StopStrings, DoNotCountWhereTheyMayNotMatch) {
  StopStringMatcher matcher({"ab"}, false);
  EXPECT_EQ(matcher.push("ab", false).text, "ab");
  EXPECT_EQ(matcher.push("a", false).text, "");
  EXPECT_EQ(matcher.push("b", true).matched, "ab");
}

// The definition: the first byte at which some stop string is complete, the longest of those.
struct Reference {
  std::string text;
  std::optional<std::string> matched;
};
Reference reference(const std::string& text, const std::vector<std::string>& stops) {
  for (std::size_t end = 1; end <= text.size(); ++end) {
    std::string best;
    for (const std::string& stop : stops) {
      if (text.substr(0, end).ends_with(stop) && stop.size() > best.size()) best = stop;
    }
    if (!best.empty()) return {text.substr(0, end - best.size()), best};
  }
  return {text, std::nullopt};
}

TEST(StopStrings, AgreeWithTheDefinitionHoweverTheTextIsCut) {
  std::mt19937 random(7);
  const auto word = [&random](int max_length) {
    std::string s(1 + random() % max_length, 'a');
    for (char& c : s) c = static_cast<char>('a' + random() % 2);
    return s;
  };
  int matches = 0;
  for (int round = 0; round < 20000; ++round) {
    std::vector<std::string> stops(1 + random() % 3);
    for (std::string& stop : stops) stop = word(6) + (random() % 2 ? "c" : "");
    const std::string text = word(24) + (random() % 2 ? "c" : "") + word(8);
    const Reference expected = reference(text, stops);
    StopStringMatcher matcher(stops, false);
    std::string emitted;
    std::optional<std::string> matched;
    for (std::size_t at = 0; at < text.size() && !matched;) {
      const std::size_t length = std::min<std::size_t>(1 + random() % 5, text.size() - at);
      auto output = matcher.push(text.substr(at, length), true);
      emitted += output.text;
      matched = output.matched;
      at += length;
      // Never a byte too many.
      ASSERT_TRUE(expected.text.starts_with(emitted)) << text;
    }
    if (!matched) emitted += matcher.finish();
    ASSERT_EQ(emitted, expected.text);
    ASSERT_EQ(matched, expected.matched);
    matches += matched.has_value();
  }
  EXPECT_GT(matches, 5000);
  EXPECT_LT(matches, 19500);
}

}  // namespace
}  // namespace lockstep::coordinator

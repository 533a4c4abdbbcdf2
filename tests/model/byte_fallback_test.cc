#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "base/error.h"
#include "model/metaspace.h"
#include "model/tokenizer.h"
#include "tests/model/expect_error.h"
#include "tests/model/fallback_vocabulary.h"

namespace lockstep::model {
namespace {

using Ids = std::vector<std::int32_t>;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::int32_t kA = kFallbackSpace + 1;
constexpr std::int32_t kB = kA + 1;
constexpr std::int32_t kS = kFallbackSpace;

Ids encode(const TokenizerSpec& spec, std::string_view text, bool parse_special = true) {
  return make_tokenizer(spec, "test.gguf")
      ->encode(text, {.add_special_tokens = false, .parse_special = parse_special});
}

std::string decode(const TokenizerSpec& spec, const Ids& ids, bool begins_text = true) {
  const auto tokenizer = make_tokenizer(spec, "test.gguf");
  StreamingDecoder decoder(*tokenizer, /*skip_special_tokens=*/true, begins_text);
  std::string text;
  for (const std::int32_t id : ids) text += decoder.push(id);
  return text + decoder.finish();
}

TEST(ByteFallback, WritesCharactersWithoutATokenInBytes) {
  const TokenizerSpec spec = make_fallback_spec();
  EXPECT_THAT(encode(spec, "a b"), ElementsAre(kA, kS, kB));
  EXPECT_THAT(encode(spec, "a\u00e9\n"),
              ElementsAre(kA, fallback_byte(0xC3), fallback_byte(0xA9), fallback_byte('\n')));
  EXPECT_THAT(encode(spec, "\xFF"),
              ElementsAre(fallback_byte(0xEF), fallback_byte(0xBF), fallback_byte(0xBD)));
  EXPECT_THAT(encode(spec, std::string("\0", 1)), ElementsAre(fallback_byte(0)));
  EXPECT_THAT(encode(spec, ""), IsEmpty());
}

TEST(ByteFallback, MergesAcrossSpaces) {
  TokenizerSpec spec = make_fallback_spec();
  spec.merges = {"a \u2581", "a\u2581 b"};
  const std::int32_t a_space = add_token(spec, "a\u2581");
  const std::int32_t two_words = add_token(spec, "a\u2581b");
  EXPECT_THAT(encode(spec, "a b"), ElementsAre(two_words));
  EXPECT_THAT(encode(spec, "a a b"), ElementsAre(a_space, two_words));
}

TEST(ByteFallback, PutsASpaceInFrontAsThePrefixSays) {
  TokenizerSpec spec = make_fallback_spec();
  const auto expect = [&](SpacePrefix prefix, std::string_view text, const Ids& ids) {
    spec.space_prefix = prefix;
    EXPECT_EQ(encode(spec, text), ids) << text << " with prefix " << static_cast<int>(prefix);
  };
  expect(SpacePrefix::kNone, "a<s>b", {kA, kFallbackBos, kB});
  expect(SpacePrefix::kFirstPart, "a<s>b", {kS, kA, kFallbackBos, kB});
  expect(SpacePrefix::kFirstPart, " a", {kS, kA});
  expect(SpacePrefix::kFirstPart, "\u2581a", {kS, kA});
  expect(SpacePrefix::kFirstPart, "<s>a", {kFallbackBos, kA});
  expect(SpacePrefix::kPartsWithoutSpace, "a<s>b<s> b",
         {kS, kA, kFallbackBos, kS, kB, kFallbackBos, kS, kB});
  expect(SpacePrefix::kEveryPart, "a<s>b<s> b",
         {kS, kA, kFallbackBos, kS, kB, kFallbackBos, kS, kS, kB});
  expect(SpacePrefix::kEveryPart, "<s><s>", {kFallbackBos, kFallbackBos});
}

TEST(ByteFallback, FindsNormalizedTokensBehindASpace) {
  TokenizerSpec spec = make_fallback_spec();
  const std::int32_t added = add_added_token(spec, "<t>");
  spec.normalized_tokens = {added};
  EXPECT_THAT(encode(spec, "<t>a<t>"), ElementsAre(added, kA, added));
  // The token is written as the text is, with a space in front.
  spec.space_prefix = SpacePrefix::kEveryPart;
  EXPECT_THAT(encode(spec, "<t>a <t>"), ElementsAre(added, kA, added));
  EXPECT_EQ(encode(spec, "a<t>").size(), 5u);  // a space, a, and three bytes
  spec.space_prefix = SpacePrefix::kPartsWithoutSpace;
  EXPECT_THAT(encode(spec, "<t>a"), ElementsAre(added, kS, kA));
}

TEST(ByteFallback, MergesTheBestScoreFirstAndTheLeftmostOfEqualOnes) {
  TokenizerSpec spec = make_scored_spec();
  const std::int32_t ab = add_scored(spec, "ab", -2);
  const std::int32_t ba = add_scored(spec, "ba", -1);
  EXPECT_THAT(encode(spec, "aba"), ElementsAre(kA, ba));
  spec.scores[ab] = -1;
  EXPECT_THAT(encode(spec, "aba"), ElementsAre(ab, kA));
  // Made of "a" and "ba" here, of "ab" and "a" there: one token, one score.
  const std::int32_t aba = add_scored(spec, "aba", -3);
  EXPECT_THAT(encode(spec, "aba"), ElementsAre(aba));
  spec.scores[ba] = 0;
  EXPECT_THAT(encode(spec, "aba"), ElementsAre(aba));
}

// The definition of SentencePiece's BPE, one merge at a time over the whole text.
Ids merge_plainly(const TokenizerSpec& spec, std::string_view text) {
  const auto find = [&](const std::string& token) {
    const auto found = std::find(spec.tokens.begin(), spec.tokens.end(), token);
    return found == spec.tokens.end() ? -1 : static_cast<std::int32_t>(found - spec.tokens.begin());
  };
  std::vector<std::string> parts;
  for (const char c : text) parts.push_back(std::string(1, c));
  while (true) {
    std::int32_t best = -1;
    std::size_t place = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const std::int32_t id = find(parts[i] + parts[i + 1]);
      if (id >= 0 && (best < 0 || spec.scores[id] > spec.scores[best])) best = id, place = i;
    }
    if (best < 0) break;
    parts[place] += parts[place + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(place) + 1);
  }
  Ids ids;
  for (const std::string& part : parts) ids.push_back(find(part));
  return ids;
}

TEST(ByteFallback, MergesByScoreAsTheDefinitionDoesOverRandomVocabularies) {
  for (std::uint32_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    TokenizerSpec spec = make_scored_spec();
    for (int i = 0; i < 24; ++i) {
      std::string token(2 + random() % 4, 'a');
      for (char& c : token) c = static_cast<char>('a' + random() % 3);
      if (std::ranges::find(spec.tokens, token) != spec.tokens.end()) continue;
      add_scored(spec, token, -static_cast<float>(random() % 8));
    }
    const auto tokenizer = make_tokenizer(spec, "test.gguf");
    for (int i = 0; i < 20; ++i) {
      std::string text(1 + random() % 60, 'a');
      for (char& c : text) c = static_cast<char>('a' + random() % 3);
      EXPECT_EQ(tokenizer->encode(text, {.add_special_tokens = false}), merge_plainly(spec, text))
          << text;
    }
  }
}

// With quadratic merging this test does not end in its time limit.
TEST(ByteFallback, EncodesAMillionLettersWithoutASpace) {
  TokenizerSpec spec = make_scored_spec();
  std::string token = "a";
  std::int32_t longest = 0;
  while (token.size() < 16) {
    token += token;
    longest = add_scored(spec, token, -static_cast<float>(token.size()));
  }
  EXPECT_EQ(encode(spec, std::string(1'000'000, 'a')), Ids(62'500, longest));
}

TEST(ByteFallback, TextNeverGivesAControlOrAByteToken) {
  TokenizerSpec spec = make_scored_spec();
  for (const char* token : {"<", ">", "s", "0", "x", "1", "4"}) add_scored(spec, token, 0);
  const std::int32_t most_of_bos = add_scored(spec, "<s", 0);
  add_scored(spec, "<0", 0);
  add_scored(spec, "<0x", 0);
  add_scored(spec, "<0x4", 0);
  const std::int32_t most_of_byte = add_scored(spec, "<0x41", 0);
  const std::int32_t end = *make_tokenizer(spec, "test.gguf")->find(">");
  EXPECT_THAT(encode(spec, "<s>", false), ElementsAre(most_of_bos, end));
  EXPECT_THAT(encode(spec, "<0x41>"), ElementsAre(most_of_byte, end));
}

TEST(ByteFallback, GivesTheBytesOfEveryKindOfToken) {
  TokenizerSpec spec = make_fallback_spec();
  const std::int32_t word = add_token(spec, "\u2581a\u2581b");
  const std::int32_t added = add_added_token(spec, "<\u2581>");  // its own text
  const auto tokenizer = make_tokenizer(spec, "test.gguf");
  EXPECT_EQ(tokenizer->token_bytes(word), " a b");
  EXPECT_EQ(tokenizer->token_bytes(added), "<\u2581>");
  EXPECT_EQ(tokenizer->token_bytes(kFallbackBos), "<s>");
  for (int byte = 0; byte < 256; ++byte) {
    EXPECT_EQ(tokenizer->token_bytes(fallback_byte(byte)), std::string(1, static_cast<char>(byte)));
  }
  EXPECT_EQ(tokenizer->find("\u2581"), kS);
}

TEST(ByteFallback, DecodesCharactersOfByteTokensWhenTheyAreWhole) {
  const auto tokenizer = make_tokenizer(make_fallback_spec(), "test.gguf");
  StreamingDecoder decoder(*tokenizer, true);
  EXPECT_EQ(decoder.push(fallback_byte(0xC3)), "");
  EXPECT_EQ(decoder.push(fallback_byte(0xA9)), "\u00e9");
  EXPECT_EQ(decoder.push(fallback_byte(0xE4)), "");
  EXPECT_EQ(decoder.push(kA), "\uFFFDa");
  EXPECT_EQ(decoder.push(fallback_byte(0xE4)), "");
  EXPECT_EQ(decoder.finish(), "\uFFFD");
}

TEST(ByteFallback, TakesTheFirstSpaceOffATextThatBegins) {
  TokenizerSpec spec = make_fallback_spec();
  EXPECT_EQ(decode(spec, {kS, kA}), " a");
  spec.strips_first_space = true;
  EXPECT_EQ(decode(spec, {kS, kS, kA, kS}), " a ");
  EXPECT_EQ(decode(spec, {kA, kS, kA}), "a a");
  EXPECT_EQ(decode(spec, {kFallbackBos, kS, kA}), "a");  // nothing of it was text
  EXPECT_EQ(decode(spec, {fallback_byte(' '), kA}), "a");
  EXPECT_EQ(decode(spec, {fallback_byte(0xC3), kS}), "\uFFFD ");
  EXPECT_EQ(decode(spec, {kS, kA}, /*begins_text=*/false), " a");
}

TEST(ByteFallback, BeginsAnewAfterTheEndOfAText) {
  TokenizerSpec spec = make_fallback_spec();
  spec.strips_first_space = true;
  const auto tokenizer = make_tokenizer(spec, "test.gguf");
  StreamingDecoder decoder(*tokenizer, true);
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(decoder.push(kS), "");
    EXPECT_EQ(decoder.push(kS), " ");
    EXPECT_EQ(decoder.finish(), "");
  }
}

TEST(ByteFallback, NamesWhatIsWrongWithItsVocabulary) {
  const auto expect = [](const std::string& says, auto&& change) {
    TokenizerSpec spec = make_scored_spec();
    change(spec);
    expect_error([&] { make_tokenizer(spec, "dir/x.gguf"); }, {"dir/x.gguf: " + says});
  };
  expect("the vocabulary has no token '<0x41>' for the byte 65",
         [](auto& spec) { spec.tokens[fallback_byte(0x41)] = "z"; });
  expect("the vocabulary has no token '<0xFF>' for the byte 255",
         [](auto& spec) { spec.special_tokens.push_back(fallback_byte(0xFF)); });
  expect("267 scores for 266 tokens", [](auto& spec) { spec.scores.push_back(0); });
  expect("tokens[266] has 513 bytes; with scores the limit is 512",
         [](auto& spec) { add_scored(spec, std::string(513, 'a'), 0); });
  expect("tokens[266] is not UTF-8", [](auto& spec) { add_scored(spec, "a\xFF", 0); });
}

}  // namespace
}  // namespace lockstep::model

#include "model/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <thread>

#include "base/error.h"
#include "model/byte_alphabet.h"
#include "tests/model/byte_vocabulary.h"

namespace lockstep::model {
namespace {

using Ids = std::vector<std::int32_t>;
using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr Tokenizer::EncodeOptions kPlain{.add_special_tokens = false, .parse_special = false};
constexpr Tokenizer::EncodeOptions kTrusted{.add_special_tokens = false, .parse_special = true};

Ids encode(const TokenizerSpec& spec, std::string_view text,
           Tokenizer::EncodeOptions options = kPlain) {
  return make_tokenizer(spec, "test.gguf")->encode(text, options);
}

std::string error_of(const TokenizerSpec& spec) {
  try {
    make_tokenizer(spec, "dir/test.gguf");
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

// The definition of byte-pair encoding, one merge at a time over the whole piece.
Ids merge_plainly(const TokenizerSpec& spec, std::string_view piece) {
  std::vector<std::string> parts;
  for (const char c : piece) parts.push_back(to_byte_alphabet(std::string(1, c)));
  while (true) {
    auto best_rank = spec.merges.end();
    std::size_t best = 0;
    for (std::size_t i = 0; i + 1 < parts.size(); ++i) {
      const auto rank =
          std::find(spec.merges.begin(), spec.merges.end(), parts[i] + " " + parts[i + 1]);
      if (rank < best_rank) best_rank = rank, best = i;
    }
    if (best_rank == spec.merges.end()) break;
    parts[best] += parts[best + 1];
    parts.erase(parts.begin() + static_cast<std::ptrdiff_t>(best) + 1);
  }
  Ids ids;
  for (const std::string& part : parts) {
    const auto token = std::find(spec.tokens.begin(), spec.tokens.end(), part);
    ids.push_back(static_cast<std::int32_t>(token - spec.tokens.begin()));
  }
  return ids;
}

TEST(Tokenizer, MergesTheBestRankedPairFirst) {
  TokenizerSpec spec = make_byte_spec();
  const std::int32_t bc = add_merge(spec, "b", "c");
  add_merge(spec, "a", "b");
  EXPECT_THAT(encode(spec, "abc"), ElementsAre('a', bc));
}

TEST(Tokenizer, MergesTheLeftmostOfEqualPairs) {
  TokenizerSpec spec = make_byte_spec();
  const std::int32_t aa = add_merge(spec, "a", "a");
  EXPECT_THAT(encode(spec, "aaaaa"), ElementsAre(aa, aa, 'a'));
}

TEST(Tokenizer, MergesAsTheDefinitionDoesOverRandomVocabularies) {
  for (std::uint32_t seed = 1; seed <= 200; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    std::mt19937 random(seed);
    TokenizerSpec spec = make_byte_spec();
    std::vector<std::string> parts = {"a", "b", "c"};
    while (parts.size() < 24) {
      const std::string left = parts[random() % parts.size()];
      const std::string right = parts[random() % parts.size()];
      if (std::find(parts.begin(), parts.end(), left + right) != parts.end()) continue;
      add_merge(spec, left, right);
      parts.push_back(left + right);
    }
    const auto tokenizer = make_tokenizer(spec, "test.gguf");
    for (int i = 0; i < 20; ++i) {
      std::string piece(1 + random() % 60, 'a');
      for (char& c : piece) c = static_cast<char>('a' + random() % 3);
      EXPECT_EQ(tokenizer->encode(piece, kPlain), merge_plainly(spec, piece)) << piece;
    }
  }
}

TEST(Tokenizer, EncodesAWordOfAMillionEqualLetters) {
  TokenizerSpec spec = make_byte_spec();
  std::string token = "a";
  while (token.size() < 16) {
    add_merge(spec, token, token);
    token += token;
  }
  // 1,000,000 = 62,500 * 16. With quadratic merging this test does not end in its time limit.
  EXPECT_EQ(encode(spec, std::string(1'000'000, 'a')), Ids(62'500, 259));
}

TEST(Tokenizer, DoesNotMergeAPieceThatIsATokenWhenTheModelSaysSo) {
  TokenizerSpec spec = make_byte_spec();
  const std::int32_t ab = add_merge(spec, "a", "b");
  const std::int32_t abc = add_token(spec, "abc");
  EXPECT_THAT(encode(spec, "abc"), ElementsAre(ab, 'c'));
  spec.ignore_merges = true;
  EXPECT_THAT(encode(spec, "abc"), ElementsAre(abc));
  EXPECT_THAT(encode(spec, "abcd"), ElementsAre(ab, 'c', 'd'));
}

TEST(Tokenizer, ParsesControlTokensOnlyOnRequest) {
  TokenizerSpec spec = make_byte_spec();
  const std::int32_t end = add_special_token(spec, "<e>");
  EXPECT_THAT(encode(spec, "a<e>b", kPlain), ElementsAre('a', '<', 'e', '>', 'b'));
  EXPECT_THAT(encode(spec, "a<e>b", kTrusted), ElementsAre('a', end, 'b'));
}

TEST(Tokenizer, TextNeverGivesAControlTokenEvenWhenMergesAreIgnored) {
  TokenizerSpec spec = make_byte_spec();
  spec.ignore_merges = true;
  add_special_token(spec, "<>");
  EXPECT_THAT(encode(spec, "<>", kPlain), ElementsAre('<', '>'));
}

TEST(Tokenizer, ParsesAddedTokensAlwaysAndTheLongestFirst) {
  TokenizerSpec spec = make_byte_spec();
  const std::int32_t tool = add_added_token(spec, "<t>");
  const std::int32_t tools = add_added_token(spec, "<t>s");
  const std::int32_t special = add_special_token(spec, "<t>st");
  EXPECT_THAT(encode(spec, "<t>s<t><t", kPlain), ElementsAre(tools, tool, '<', 't'));
  EXPECT_THAT(encode(spec, "<t>st<t>s", kTrusted), ElementsAre(special, tools));
  // The longest is a control token: plain text, and so is the added token that it begins with.
  EXPECT_THAT(encode(spec, "<t>st<t>s", kPlain), ElementsAre('<', 't', '>', 's', 't', tools));
}

TEST(Tokenizer, ComposesCharactersBetweenAddedTokensWhereTheModelWantsIt) {
  TokenizerSpec spec = make_byte_spec();
  const std::int32_t added = add_added_token(spec, "<e\u0301>");
  EXPECT_THAT(encode(spec, "e\u0301"), ElementsAre('e', 0xCC, 0x81));
  spec.nfc = true;
  EXPECT_THAT(encode(spec, "e\u0301"), ElementsAre(0xC3, 0xA9));
  // An added token is found in the text as it is, and what is after it does not reach into it.
  EXPECT_THAT(encode(spec, "<e\u0301>\u0338"), ElementsAre(added, 0xCC, 0xB8));
  EXPECT_THAT(encode(spec, "<\u00e9>"), ElementsAre('<', 0xC3, 0xA9, '>'));
}

TEST(Tokenizer, FindsNormalizedTokensInWhatIsBetweenTheOthers) {
  TokenizerSpec spec = make_byte_spec();
  const std::int32_t accent = add_added_token(spec, "<e\u0301>");
  const std::int32_t control = add_special_token(spec, "<s>");
  const std::int32_t shorter = add_added_token(spec, "<t");
  const std::int32_t longer = add_added_token(spec, "<t>");
  spec.nfc = true;
  spec.normalized_tokens = {accent, control, longer};
  EXPECT_THAT(encode(spec, "<e\u0301><\u00e9>"), ElementsAre(accent, accent));
  EXPECT_THAT(encode(spec, "<t>"), ElementsAre(shorter, '>'));
  EXPECT_THAT(encode(spec, "<s>", kTrusted), ElementsAre(control));
  EXPECT_THAT(encode(spec, "<s>", kPlain), ElementsAre('<', 's', '>'));
}

TEST(Tokenizer, BeginsWithTheTokenThatTheModelWantsThere) {
  TokenizerSpec spec = make_byte_spec();
  spec.bos_token_id = add_special_token(spec, "<s>");
  EXPECT_THAT(encode(spec, "a", {.add_special_tokens = true}), ElementsAre('a'));
  spec.add_bos_token = true;
  EXPECT_THAT(encode(spec, "a", {.add_special_tokens = true}),
              ElementsAre(*spec.bos_token_id, 'a'));
  EXPECT_THAT(encode(spec, "", {.add_special_tokens = true}), ElementsAre(*spec.bos_token_id));
  EXPECT_THAT(encode(spec, "a", {.add_special_tokens = false}), ElementsAre('a'));
}

TEST(Tokenizer, ReadsBytesThatAreNotUtf8AsReplacementCharacters) {
  const TokenizerSpec spec = make_byte_spec();
  EXPECT_THAT(encode(spec, "a\xFF"), ElementsAre('a', 0xEF, 0xBF, 0xBD));
  EXPECT_THAT(encode(spec, "\xE2\x82"), ElementsAre(0xEF, 0xBF, 0xBD));
  EXPECT_EQ(encode(spec, "\xED\xA0\x80").size(), 9u);  // a surrogate: three bad bytes
}

TEST(Tokenizer, LeavesOutControlCharactersWithoutAToken) {
  TokenizerSpec spec = make_byte_spec();
  spec.tokens[0x04].clear();
  const std::int32_t ab = add_merge(spec, "a", "b");
  EXPECT_THAT(encode(spec,
                     "a\x04"
                     "c"),
              ElementsAre('a', 'c'));
  // Both in one piece: nothing is left between them.
  EXPECT_THAT(encode(spec, "!\x04!"), ElementsAre('!', '!'));
  EXPECT_THAT(encode(spec, "ab"), ElementsAre(ab));
}

TEST(Tokenizer, GivesTheBytesOfEveryKindOfToken) {
  TokenizerSpec spec = make_byte_spec();
  const std::int32_t normal = add_token(spec, "\xC4\xA0\xC3\xA9");  // U+0120 U+00E9
  const std::int32_t foreign = add_token(spec, "\xE4\xB8\xAD");     // not in the alphabet
  const std::int32_t added = add_added_token(spec, "<\xC3\xA9>");   // its own text
  const std::int32_t special = add_special_token(spec, "<\xEF\xBD\x9C>");
  const std::int32_t unused = add_token(spec, "");
  const auto tokenizer = make_tokenizer(spec, "test.gguf");
  EXPECT_EQ(tokenizer->token_bytes(normal), " \xE9");
  EXPECT_EQ(tokenizer->token_bytes(foreign), "\xE4\xB8\xAD");
  EXPECT_EQ(tokenizer->token_bytes(added), "<\xC3\xA9>");
  EXPECT_EQ(tokenizer->token_bytes(special), "<\xEF\xBD\x9C>");
  EXPECT_EQ(tokenizer->token_bytes(unused), "");
  for (int byte = 0; byte < 256; ++byte) {
    EXPECT_EQ(tokenizer->token_bytes(byte), std::string(1, static_cast<char>(byte)));
  }
  EXPECT_EQ(tokenizer->vocab_size(), unused + 1);
}

TEST(Tokenizer, FindsTokensAsTheFileWritesThem) {
  TokenizerSpec spec = make_byte_spec();
  const std::int32_t special = add_special_token(spec, "<|im_end|>");
  const auto tokenizer = make_tokenizer(spec, "test.gguf");
  EXPECT_EQ(tokenizer->find("<|im_end|>"), special);
  EXPECT_EQ(tokenizer->find("\xC4\xA0"), ' ');
  EXPECT_EQ(tokenizer->find("<|im_start|>"), std::nullopt);
  EXPECT_EQ(tokenizer->find(""), std::nullopt);
  EXPECT_TRUE(tokenizer->is_special(special));
  EXPECT_FALSE(tokenizer->is_special(' '));
}

TEST(Tokenizer, GivesTheSameIdsOnEveryThread) {
  TokenizerSpec spec = make_byte_spec();
  add_merge(spec, "a", "b");
  add_merge(spec, "ab", "ab");
  const auto tokenizer = make_tokenizer(spec, "test.gguf");
  const std::string text = "abab abba ab'll 123 \xE4\xB8\xAD";
  const Ids expected = tokenizer->encode(text, kPlain);
  std::vector<int> differences(4, 0);
  {
    std::vector<std::jthread> threads;
    for (int& count : differences) {
      threads.emplace_back([&] {
        for (int i = 0; i < 200; ++i) count += tokenizer->encode(text, kPlain) != expected;
      });
    }
  }
  EXPECT_THAT(differences, ElementsAre(0, 0, 0, 0));
}

TEST(MakeTokenizer, NamesTheFileAndTheEntryAtFault) {
  const auto broken = [](auto&& change) {
    TokenizerSpec spec = make_byte_spec();
    add_merge(spec, "a", "b");
    change(spec);
    return error_of(spec);
  };
  const auto names = [](const auto&... parts) {
    return AllOf(HasSubstr("dir/test.gguf: "), HasSubstr(parts)...);
  };
  EXPECT_EQ(broken([](auto&) {}), "");
  EXPECT_THAT(broken([](auto& s) { s.tokens.clear(); }), names("no tokens"));
  EXPECT_THAT(broken([](auto& s) { s.pre_tokenizer = "x"; }),
              names("\"x\"", "gpt2, smollm, llama3, qwen2, tekken"));
  EXPECT_THAT(broken([](auto& s) { s.tokens.push_back("ab"); }),
              names("tokens[257] 'ab'", "tokens[256]"));
  EXPECT_THAT(broken([](auto& s) {
                s.special_tokens = {0, 300};
              }),
              names("special_tokens[1] is 300", "257"));
  EXPECT_THAT(broken([](auto& s) { s.added_tokens = {-1}; }), names("added_tokens[0] is -1"));
  EXPECT_THAT(broken([](auto& s) { s.normalized_tokens = {257}; }),
              names("normalized_tokens is 257"));
  EXPECT_THAT(broken([](auto& s) { s.tokens[4] = "", s.added_tokens = {4}; }),
              names("added_tokens[0] is empty"));
  EXPECT_THAT(broken([](auto& s) { s.bos_token_id = 257; }), names("bos_token_id is 257"));
  EXPECT_THAT(broken([](auto& s) { s.eos_token_id = -2; }), names("eos_token_id is -2"));
  EXPECT_THAT(broken([](auto& s) { s.unk_token_id = 999; }), names("unk_token_id is 999"));
  EXPECT_THAT(broken([](auto& s) { s.add_bos_token = true; }), names("add_bos_token"));
  EXPECT_THAT(broken([](auto& s) { s.tokens['q'] = "qq"; }), names("'q' for the byte 113"));
  EXPECT_THAT(broken([](auto& s) { s.special_tokens = {'q'}; }), names("'q' for the byte 113"));
  EXPECT_THAT(broken([](auto& s) { s.merges.push_back("a zz"); }), names("merges[1]", "'zz'"));
  EXPECT_THAT(broken([](auto& s) { s.merges.push_back("zz a"); }), names("merges[1]", "'zz"));
  EXPECT_THAT(broken([](auto& s) { s.merges.push_back("a c"); }), names("merges[1]", "'ac'"));
  EXPECT_THAT(broken([](auto& s) { s.merges.push_back("a b"); }), names("merges[1]", "twice"));
  EXPECT_THAT(broken([](auto& s) { s.special_tokens = {256}; }),
              names("merges[0]", "control token 'ab'"));
  EXPECT_THAT(broken([](auto& s) { s.merges.push_back("a \x1b[31m"); }),
              names("merges[1] 'a ?[31m'", "'?[31m', which is not a token"));
  for (const char* line : {"", "ab", " ab", "ab ", "a b c"}) {
    EXPECT_THAT(broken([&](auto& s) { s.merges.push_back(line); }),
                names("merges[1] '" + std::string(line) + "'", "space between"));
  }
}

}  // namespace
}  // namespace lockstep::model

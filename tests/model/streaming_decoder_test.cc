#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>
#include <unordered_set>

#include "model/tokenizer.h"
#include "model/utf8.h"
#include "tests/model/byte_vocabulary.h"

namespace lockstep::model {
namespace {

// Every beginning of the UTF-8 of every code point, the whole character included, and whether it
// is whole: the definition of what is well-formed, by enumeration.
class Utf8Prefixes {
 public:
  Utf8Prefixes() {
    for (std::uint32_t c = 0; c <= 0x10FFFF; ++c) {
      if (c >= 0xD800 && c <= 0xDFFF) continue;
      const std::string character = encode(c);
      for (std::size_t size = 1; size < character.size(); ++size) {
        partial_.insert(character.substr(0, size));
      }
      whole_.insert(character);
    }
  }

  static std::string encode(std::uint32_t c) {
    const auto tail = [&](int shift) { return static_cast<char>(0x80 | ((c >> shift) & 0x3F)); };
    if (c < 0x80) return {static_cast<char>(c)};
    if (c < 0x800) return {static_cast<char>(0xC0 | c >> 6), tail(0)};
    if (c < 0x10000) return {static_cast<char>(0xE0 | c >> 12), tail(6), tail(0)};
    return {static_cast<char>(0xF0 | c >> 18), tail(12), tail(6), tail(0)};
  }

  // bytes.decode("utf-8", errors="replace"): at each place the character, or else U+FFFD for the
  // longest beginning of one, at least a byte.
  std::string decode_with_replacement(const std::string& bytes) const {
    std::string text;
    for (std::size_t at = 0; at < bytes.size();) {
      std::size_t size = 1;
      while (size < 4 && at + size < bytes.size() && !whole_.contains(bytes.substr(at, size)) &&
             (partial_.contains(bytes.substr(at, size + 1)) ||
              whole_.contains(bytes.substr(at, size + 1)))) {
        ++size;
      }
      const std::string sequence = bytes.substr(at, size);
      text += whole_.contains(sequence) ? sequence : "\xEF\xBF\xBD";
      at += size;
    }
    return text;
  }

 private:
  std::unordered_set<std::string> partial_, whole_;
};

const Utf8Prefixes& prefixes() {
  static const Utf8Prefixes all;
  return all;
}

// Bytes that begin, continue and break characters, far more often than uniform ones would.
std::string random_bytes(std::mt19937& random, std::size_t size) {
  constexpr std::string_view kEdges =
      "\x7F\x80\x8F\x90\x9F\xA0\xBF\xC0\xC1\xC2\xDF\xE0\xE1\xEC\xED\xEE\xEF\xF0\xF1\xF3\xF4\xF5"
      "\xFF";
  std::string bytes;
  while (bytes.size() < size) {
    switch (random() % 4) {
      case 0: bytes += kEdges[random() % kEdges.size()]; break;
      case 1: bytes += static_cast<char>(random()); break;
      case 2: bytes += static_cast<char>(0x80 | (random() & 0x3F)); break;
      default: bytes += Utf8Prefixes::encode(random() % 0xD800); break;
    }
  }
  return bytes;
}

TEST(StreamingDecoder, HoldsBackACharacterUntilItIsWhole) {
  const auto tokenizer = make_tokenizer(make_byte_spec(), "test.gguf");
  StreamingDecoder decoder(*tokenizer, true);
  EXPECT_EQ(decoder.push('a'), "a");
  EXPECT_EQ(decoder.push(0xF0), "");
  EXPECT_EQ(decoder.push(0x9F), "");
  EXPECT_EQ(decoder.push(0x98), "");
  EXPECT_EQ(decoder.push(0x80), "\xF0\x9F\x98\x80");
  EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamingDecoder, ReplacesWhatIsLeftOfACharacterAtTheEnd) {
  const auto tokenizer = make_tokenizer(make_byte_spec(), "test.gguf");
  StreamingDecoder decoder(*tokenizer, true);
  EXPECT_EQ(decoder.push(0xE2), "");
  EXPECT_EQ(decoder.push(0x82), "");
  EXPECT_EQ(decoder.finish(), "\xEF\xBF\xBD");
  EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamingDecoder, GivesTheReplacementAsSoonAsACharacterIsBroken) {
  const auto tokenizer = make_tokenizer(make_byte_spec(), "test.gguf");
  StreamingDecoder decoder(*tokenizer, true);
  EXPECT_EQ(decoder.push(0xE2), "");
  EXPECT_EQ(decoder.push('a'),
            "\xEF\xBF\xBD"
            "a");
}

TEST(StreamingDecoder, DropsControlTokensOnRequest) {
  TokenizerSpec spec = make_byte_spec();
  const std::int32_t end = add_special_token(spec, "<e>");
  const std::int32_t added = add_added_token(spec, "<t>");
  const auto tokenizer = make_tokenizer(spec, "test.gguf");
  const std::vector<std::int32_t> ids = {'a', end, added, 0xC3, end, 0xA9};
  for (const bool skip : {true, false}) {
    StreamingDecoder decoder(*tokenizer, skip);
    std::string text;
    for (const std::int32_t id : ids) text += decoder.push(id);
    text += decoder.finish();
    EXPECT_EQ(text, skip ? "a<t>\xC3\xA9" : "a<e><t>\xEF\xBF\xBD<e>\xEF\xBF\xBD");
  }
}

TEST(StreamingDecoder, GivesOverAllWhatPythonGivesForTheWholeAnswer) {
  std::mt19937 random(20240601);
  TokenizerSpec spec = make_byte_spec();
  while (spec.tokens.size() < 2000) {
    const std::string token = to_byte_alphabet(random_bytes(random, 2 + random() % 6));
    if (std::find(spec.tokens.begin(), spec.tokens.end(), token) == spec.tokens.end()) {
      spec.tokens.push_back(token);
    }
  }
  const auto tokenizer = make_tokenizer(spec, "test.gguf");
  for (int i = 0; i < 3000; ++i) {
    StreamingDecoder decoder(*tokenizer, true);
    std::string bytes, text;
    for (std::size_t n = random() % 40; n > 0; --n) {
      const auto id = static_cast<std::int32_t>(random() % (random() % 2 ? 256 : 2000));
      bytes += tokenizer->token_bytes(id);
      const std::string delta = decoder.push(id);
      EXPECT_TRUE(is_valid_utf8(delta));
      text += delta;
    }
    text += decoder.finish();
    ASSERT_EQ(text, prefixes().decode_with_replacement(bytes)) << "stream " << i;
  }
}

TEST(Utf8, IsValidExactlyWhenNothingNeedsReplacement) {
  std::mt19937 random(7);
  for (int i = 0; i < 100'000; ++i) {
    const std::string bytes = random_bytes(random, random() % 12);
    ASSERT_EQ(is_valid_utf8(bytes), prefixes().decode_with_replacement(bytes) == bytes);
  }
}

TEST(Utf8, RepairsEveryPairOfBytesAsPythonDoes) {
  for (int first = 0; first < 256; ++first) {
    for (int second = 0; second < 256; ++second) {
      const std::string bytes = {static_cast<char>(first), static_cast<char>(second)};
      std::string text;
      EXPECT_EQ(append_repaired_utf8(bytes, false, text), 2u);
      ASSERT_EQ(text, prefixes().decode_with_replacement(bytes)) << first << " " << second;
    }
  }
}

}  // namespace
}  // namespace lockstep::model

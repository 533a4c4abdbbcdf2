// A small vocabulary of SentencePiece's kind for tests: control tokens, the 256 bytes, some
// characters, and what a test adds.
#pragma once

#include <cstdint>
#include <cstdio>
#include <string>

#include "model/metaspace.h"
#include "model/tokenizer.h"
#include "tests/model/byte_vocabulary.h"

namespace lockstep::model {

inline constexpr std::int32_t kFallbackBos = 1;
inline constexpr std::int32_t kFallbackFirstByte = 3;
inline constexpr std::int32_t kFallbackSpace = 259;  // behind it the letters a to f

// The token of a byte, and of one of the letters.
inline std::int32_t fallback_byte(int byte) { return kFallbackFirstByte + byte; }
inline std::int32_t fallback_letter(char letter) { return kFallbackSpace + 1 + (letter - 'a'); }

// <unk>, <s>, </s>, the bytes, U+2581, a to f; no merges, no prefix.
inline TokenizerSpec make_fallback_spec() {
  TokenizerSpec spec;
  spec.byte_fallback = true;
  spec.tokens = {"<unk>", "<s>", "</s>"};
  spec.special_tokens = {0, kFallbackBos, 2};
  for (int byte = 0; byte < 256; ++byte) {
    char text[8];
    std::snprintf(text, sizeof(text), "<0x%02X>", byte);
    spec.tokens.push_back(text);
  }
  spec.tokens.push_back(std::string(kMetaspace));
  for (char letter = 'a'; letter <= 'f'; ++letter) spec.tokens.push_back(std::string(1, letter));
  return spec;
}

// The same with scores in place of merges.
inline TokenizerSpec make_scored_spec() {
  TokenizerSpec spec = make_fallback_spec();
  spec.scores.resize(spec.tokens.size());
  return spec;
}

// Adds a token of a score; returns its id.
inline std::int32_t add_scored(TokenizerSpec& spec, const std::string& token, float score) {
  spec.scores.push_back(score);
  return add_token(spec, token);
}

}  // namespace lockstep::model

// A small vocabulary for tests: the 256 bytes, and what a test adds.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "model/byte_alphabet.h"
#include "model/tokenizer.h"

namespace lockstep::model {

// Id b is the byte b; no merges, GPT-2's pre-tokenizer.
inline TokenizerSpec make_byte_spec() {
  TokenizerSpec spec;
  spec.pre_tokenizer = "gpt2";
  for (int byte = 0; byte < 256; ++byte) {
    spec.tokens.push_back(to_byte_alphabet(std::string(1, static_cast<char>(byte))));
  }
  return spec;
}

inline std::int32_t add_token(TokenizerSpec& spec, std::string token) {
  spec.tokens.push_back(std::move(token));
  return static_cast<std::int32_t>(spec.tokens.size()) - 1;
}

// Adds the merge and its token, both written in the byte alphabet; returns the token's id.
inline std::int32_t add_merge(TokenizerSpec& spec, const std::string& left,
                              const std::string& right) {
  spec.merges.push_back(left + " " + right);
  return add_token(spec, left + right);
}

inline std::int32_t add_special_token(TokenizerSpec& spec, std::string token) {
  spec.special_tokens.push_back(add_token(spec, std::move(token)));
  return spec.special_tokens.back();
}

inline std::int32_t add_added_token(TokenizerSpec& spec, std::string token) {
  spec.added_tokens.push_back(add_token(spec, std::move(token)));
  return spec.added_tokens.back();
}

}  // namespace lockstep::model

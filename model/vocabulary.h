// The tokens of a model: checked once, then looked up by id and by text.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "model/tokenizer.h"

namespace lockstep::model {

enum class TokenKind : std::uint8_t {
  kNormal,   // reached by byte-pair encoding
  kAdded,    // parsed in any text, before byte-pair encoding
  kSpecial,  // control: parsed only where the caller trusts the text
  kByte,     // with byte_fallback: one byte of a character without a token
  kUnused,   // an id without a token
};

// INVARIANTS
// 1. Every id that the specification names is in [0, size()).
// 2. No two ids have the same text, except unused ones, whose text is empty.
// 3. byte_token(b) is a normal token for every byte b that ordinary text consists of; with
//    byte_fallback it is a byte token for every byte.
class Vocabulary {
 public:
  // Throws Error that names `path` and the entry at fault.
  Vocabulary(TokenizerSpec spec, std::string path);

  // The views into spec_ and bytes_ must stay valid.
  Vocabulary(const Vocabulary&) = delete;
  Vocabulary& operator=(const Vocabulary&) = delete;

  const TokenizerSpec& spec() const { return spec_; }
  const std::string& path() const { return path_; }
  std::int32_t size() const { return static_cast<std::int32_t>(kinds_.size()); }

  // REQUIRES of both: 0 <= id < size().
  TokenKind kind(std::int32_t id) const { return kinds_[id]; }
  std::string_view bytes(std::int32_t id) const {
    return std::string_view(bytes_).substr(begins_[id], begins_[id + 1] - begins_[id]);
  }

  // The id of a token written as in TokenizerSpec::tokens.
  std::optional<std::int32_t> find(std::string_view token) const;

  // The token of a single byte; -1 when the vocabulary has none.
  std::int32_t byte_token(std::uint8_t byte) const { return byte_tokens_[byte]; }

  // The normal token that is written `text`; -1 when there is none.
  std::int32_t normal_token(std::string_view text) const;

  // The text that encoding makes into token `id`: its bytes, with byte_fallback as it is written.
  std::string_view piece(std::int32_t id) const {
    return spec_.byte_fallback ? std::string_view(spec_.tokens[id]) : bytes(id);
  }

 private:
  void mark_kinds();
  void index_texts();
  void find_byte_tokens();
  void decode_bytes();
  void check_scores() const;
  void check_id(std::optional<std::int32_t> id, std::string_view field) const;

  TokenizerSpec spec_;
  std::string path_;
  std::vector<TokenKind> kinds_;                                // [size]
  std::unordered_map<std::string_view, std::int32_t> by_text_;  // views into spec_.tokens
  std::string bytes_;                      // the bytes of all tokens, one after the other
  std::vector<std::size_t> begins_;        // [size + 1], where in bytes_ each token begins
  std::vector<std::int32_t> byte_tokens_;  // [256]
};

}  // namespace lockstep::model

#include "model/vocabulary.h"

#include <limits>
#include <utility>

#include "base/error.h"
#include "model/byte_alphabet.h"
#include "model/fail.h"
#include "model/metaspace.h"
#include "model/utf8.h"

namespace lockstep::model {
namespace {

constexpr int kNumBytes = 256;

// The parts of a token that has a score are looked up two by two, which takes quadratic time.
constexpr std::size_t kMaxScoredBytes = 512;

std::string fallback_text(int byte) {
  constexpr std::string_view kDigits = "0123456789ABCDEF";
  return {'<', '0', 'x', kDigits[byte / 16], kDigits[byte % 16], '>'};
}

// The inverse of fallback_text().
char byte_of_fallback(const std::string& text) {
  return static_cast<char>(std::stoi(text.substr(3, 2), nullptr, 16));
}

std::string name_entry(std::string_view list, std::int64_t index) {
  return std::string(list) + "[" + std::to_string(index) + "]";
}

// The bytes without which a vocabulary cannot write ordinary text: printable ASCII, tab, line ends,
// and all of UTF-8 up to U+3FFFF. Control characters and the lead bytes of the planes above (only
// private use and unassigned code points) may lack a token, as they do in SmolLM2; C0, C1 and
// F5..FF are in no text at all.
bool is_required(int byte) {
  if (byte < 0x80) {
    return (byte >= 0x20 && byte <= 0x7E) || byte == '\t' || byte == '\n' || byte == '\r';
  }
  return byte <= 0xBF || (byte >= 0xC2 && byte <= 0xF0);
}

}  // namespace

Vocabulary::Vocabulary(TokenizerSpec spec, std::string path)
    : spec_(std::move(spec)), path_(std::move(path)) {
  if (spec_.tokens.empty()) throw Error(path_ + ": the vocabulary has no tokens");
  if (spec_.tokens.size() > std::numeric_limits<std::int32_t>::max()) {
    throw Error(path_ + ": the vocabulary has more tokens than 32-bit ids");
  }
  mark_kinds();
  index_texts();
  find_byte_tokens();
  decode_bytes();
  check_scores();
  for (const std::int32_t id : spec_.normalized_tokens) check_id(id, "normalized_tokens");
  check_id(spec_.bos_token_id, "bos_token_id");
  check_id(spec_.eos_token_id, "eos_token_id");
  check_id(spec_.unk_token_id, "unk_token_id");
  if (spec_.add_bos_token && !spec_.bos_token_id) {
    throw Error(path_ + ": add_bos_token is set, but there is no bos_token_id");
  }
}

void Vocabulary::mark_kinds() {
  kinds_.resize(spec_.tokens.size(), TokenKind::kNormal);
  for (std::size_t id = 0; id < kinds_.size(); ++id) {
    if (spec_.tokens[id].empty()) kinds_[id] = TokenKind::kUnused;
  }
  const auto mark = [&](const std::vector<std::int32_t>& ids, std::string_view list,
                        TokenKind kind) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
      const std::string entry = name_entry(list, static_cast<std::int64_t>(i));
      check_id(ids[i], entry);
      if (kinds_[ids[i]] == TokenKind::kUnused) throw Error(path_ + ": " + entry + " is empty");
      kinds_[ids[i]] = kind;
    }
  };
  mark(spec_.added_tokens, "added_tokens", TokenKind::kAdded);
  mark(spec_.special_tokens, "special_tokens", TokenKind::kSpecial);
}

void Vocabulary::index_texts() {
  by_text_.reserve(spec_.tokens.size());
  for (std::int32_t id = 0; id < size(); ++id) {
    if (kinds_[id] == TokenKind::kUnused) continue;
    const auto [first, inserted] = by_text_.emplace(spec_.tokens[id], id);
    if (inserted) continue;
    throw Error(path_ + ": " + name_entry("tokens", id) + " " + in_quotes(spec_.tokens[id]) +
                " is the same as " + name_entry("tokens", first->second));
  }
}

void Vocabulary::find_byte_tokens() {
  byte_tokens_.resize(kNumBytes, -1);
  for (int byte = 0; byte < kNumBytes; ++byte) {
    const std::string text = spec_.byte_fallback
                                 ? fallback_text(byte)
                                 : to_byte_alphabet(std::string(1, static_cast<char>(byte)));
    const std::int32_t id = normal_token(text);
    if (id >= 0) {
      byte_tokens_[byte] = id;
      if (spec_.byte_fallback) kinds_[id] = TokenKind::kByte;
    } else if (spec_.byte_fallback || is_required(byte)) {
      throw Error(path_ + ": the vocabulary has no token " + in_quotes(text) + " for the byte " +
                  std::to_string(byte));
    }
  }
}

void Vocabulary::decode_bytes() {
  begins_.reserve(spec_.tokens.size() + 1);
  begins_.push_back(0);
  for (std::int32_t id = 0; id < size(); ++id) {
    const std::string& text = spec_.tokens[id];
    if (kinds_[id] == TokenKind::kByte) {
      bytes_.push_back(byte_of_fallback(text));
    } else if (kinds_[id] == TokenKind::kNormal) {
      if (spec_.byte_fallback && !is_valid_utf8(text)) {
        throw Error(path_ + ": " + name_entry("tokens", id) + " is not UTF-8");
      }
      bytes_.append(spec_.byte_fallback ? from_metaspace(text)
                                        : from_byte_alphabet(text).value_or(text));
    } else {
      bytes_.append(text);
    }
    begins_.push_back(bytes_.size());
  }
}

// Ids behind the scores are those that pad the vocabulary.
void Vocabulary::check_scores() const {
  if (spec_.scores.size() > spec_.tokens.size()) {
    throw Error(path_ + ": " + std::to_string(spec_.scores.size()) + " scores for " +
                std::to_string(spec_.tokens.size()) + " tokens");
  }
  for (std::size_t id = 0; id < spec_.scores.size(); ++id) {
    if (spec_.tokens[id].size() > kMaxScoredBytes && kinds_[id] == TokenKind::kNormal) {
      throw Error(path_ + ": " + name_entry("tokens", static_cast<std::int64_t>(id)) + " has " +
                  std::to_string(spec_.tokens[id].size()) + " bytes; with scores the limit is " +
                  std::to_string(kMaxScoredBytes));
    }
  }
}

void Vocabulary::check_id(std::optional<std::int32_t> id, std::string_view field) const {
  if (!id || (*id >= 0 && *id < size())) return;
  throw Error(path_ + ": " + std::string(field) + " is " + std::to_string(*id) +
              ", but the vocabulary has " + std::to_string(size()) + " tokens");
}

std::int32_t Vocabulary::normal_token(std::string_view text) const {
  const std::optional<std::int32_t> id = find(text);
  return id && kinds_[*id] == TokenKind::kNormal ? *id : -1;
}

std::optional<std::int32_t> Vocabulary::find(std::string_view token) const {
  const auto found = by_text_.find(token);
  if (found == by_text_.end()) return std::nullopt;
  return found->second;
}

}  // namespace lockstep::model

#include <string>
#include <utility>

#include "base/error.h"
#include "model/added_tokens.h"
#include "model/bpe.h"
#include "model/pre_tokenizer.h"
#include "model/tokenizer.h"
#include "model/utf8.h"
#include "model/vocabulary.h"

namespace lockstep::model {
namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;

// Text -> repaired UTF-8 -> added tokens and what is between them -> pieces -> merged tokens.
class BpeTokenizer final : public Tokenizer {
 public:
  BpeTokenizer(TokenizerSpec spec, const std::string& path)
      : vocabulary_(std::move(spec), path),
        pre_tokenizer_(vocabulary_.spec().pre_tokenizer, path),
        bpe_(vocabulary_) {
    for (std::int32_t id = 0; id < vocabulary_.size(); ++id) {
      const TokenKind kind = vocabulary_.kind(id);
      if (kind == TokenKind::kAdded || kind == TokenKind::kSpecial) {
        added_tokens_.insert(vocabulary_.bytes(id), id);
      }
    }
  }

  std::vector<std::int32_t> encode(std::string_view text, EncodeOptions options) const override {
    if (text.size() > kMaxTextBytes) {
      throw Error("text of " + std::to_string(text.size()) + " bytes to encode; the limit is " +
                  std::to_string(kMaxTextBytes));
    }
    std::vector<std::int32_t> ids;
    if (options.add_special_tokens && spec().add_bos_token) ids.push_back(*spec().bos_token_id);
    std::string repaired;
    if (!is_valid_utf8(text)) {
      append_repaired_utf8(text, /*more_follows=*/false, repaired);
      text = repaired;
    }
    append_ids(text, options.parse_special, ids);
    return ids;
  }

  std::string_view token_bytes(std::int32_t id) const override { return vocabulary_.bytes(id); }
  bool is_special(std::int32_t id) const override {
    return vocabulary_.kind(id) == TokenKind::kSpecial;
  }
  std::optional<std::int32_t> find(std::string_view token_text) const override {
    return vocabulary_.find(token_text);
  }
  std::int64_t vocab_size() const override { return vocabulary_.size(); }
  const TokenizerSpec& spec() const override { return vocabulary_.spec(); }

 private:
  // The leftmost token at `from` or later that is parsed in the text itself. The text of a control
  // token that is not to be parsed is plain text as a whole: no added token is looked for in it.
  std::optional<AddedTokens::Match> next_added(std::string_view text, std::size_t from,
                                               bool parse_special) const {
    while (true) {
      const std::optional<AddedTokens::Match> match = added_tokens_.find(text, from);
      if (!match || parse_special || !is_special(match->id)) return match;
      from = match->begin + match->size;
    }
  }

  void append_ids(std::string_view text, bool parse_special, std::vector<std::int32_t>& ids) const {
    Bpe::Workspace workspace;
    std::vector<std::string_view> pieces;
    std::size_t begin = 0;
    while (begin < text.size()) {
      const std::optional<AddedTokens::Match> match = next_added(text, begin, parse_special);
      pieces.clear();
      pre_tokenizer_.split(text.substr(begin, match ? match->begin - begin : text.npos), pieces);
      for (const std::string_view piece : pieces) bpe_.encode(piece, workspace, ids);
      if (!match) return;
      ids.push_back(match->id);
      begin = match->begin + match->size;
    }
  }

  Vocabulary vocabulary_;
  PreTokenizer pre_tokenizer_;
  Bpe bpe_;
  AddedTokens added_tokens_;  // added and control tokens
};

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(TokenizerSpec spec, const std::string& path) {
  return std::make_unique<BpeTokenizer>(std::move(spec), path);
}

}  // namespace lockstep::model

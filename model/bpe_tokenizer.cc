#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error.h"
#include "model/added_tokens.h"
#include "model/bpe.h"
#include "model/metaspace.h"
#include "model/nfc.h"
#include "model/pre_tokenizer.h"
#include "model/tokenizer.h"
#include "model/utf8.h"
#include "model/vocabulary.h"

namespace lockstep::model {
namespace {

constexpr std::size_t kMaxTextBytes = std::size_t{1} << 30;

// Text -> repaired UTF-8 -> added tokens and what is between them -> NFC, or U+2581 for spaces ->
// added tokens of normal text and what is between them -> pieces -> merged tokens.
class BpeTokenizer final : public Tokenizer {
 public:
  BpeTokenizer(TokenizerSpec from, const std::string& path)
      : vocabulary_(std::move(from), path), bpe_(vocabulary_) {
    if (!spec().byte_fallback) pre_tokenizer_.emplace(spec().pre_tokenizer, path);
    if (spec().nfc) nfc_.emplace();
    std::vector<bool> is_normalized(vocabulary_.size());
    for (const std::int32_t id : spec().normalized_tokens) is_normalized[id] = true;
    std::string storage;
    for (std::int32_t id = 0; id < vocabulary_.size(); ++id) {
      const TokenKind kind = vocabulary_.kind(id);
      if (kind != TokenKind::kAdded && kind != TokenKind::kSpecial) continue;
      if (is_normalized[id]) {
        normalized_tokens_.insert(normalize(vocabulary_.bytes(id), storage), id);
      } else {
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
    Workspace workspace;
    append_ids(text, options.parse_special, workspace, ids);
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
  // The memory of one call.
  struct Workspace {
    std::string normalized;
    std::string metaspaced;
    std::vector<std::string_view> pieces;
    Bpe::Workspace bpe;
  };

  // The leftmost token at `from` or later that is parsed in the text itself. The text of a control
  // token that is not to be parsed is plain text as a whole: no added token is looked for in it.
  std::optional<AddedTokens::Match> next_added(const AddedTokens& tokens, std::string_view text,
                                               std::size_t from, bool parse_special) const {
    while (true) {
      const std::optional<AddedTokens::Match> match = tokens.find(text, from);
      if (!match || parse_special || !is_special(match->id)) return match;
      from = match->begin + match->size;
    }
  }

  // Calls `append` for what is between `tokens` in `text`, and appends their ids to `ids`.
  template <class Append>
  void append_between(const AddedTokens& tokens, std::string_view text, bool parse_special,
                      std::vector<std::int32_t>& ids, const Append& append) const {
    std::size_t begin = 0;
    while (begin < text.size()) {
      const std::optional<AddedTokens::Match> match =
          next_added(tokens, text, begin, parse_special);
      const std::size_t end = match ? match->begin : text.size();
      if (end > begin) append(text.substr(begin, end - begin));
      if (!match) return;
      ids.push_back(match->id);
      begin = match->begin + match->size;
    }
  }

  void append_ids(std::string_view text, bool parse_special, Workspace& workspace,
                  std::vector<std::int32_t>& ids) const {
    append_between(added_tokens_, text, parse_special, ids, [&](std::string_view part) {
      const std::string_view normal = normalize(part, workspace.normalized);
      append_between(normalized_tokens_, normal, parse_special, ids, [&](std::string_view plain) {
        const bool is_first = part.data() == text.data() && plain.data() == normal.data();
        if (spec().byte_fallback) {
          bpe_.encode(metaspace(plain, is_first, workspace.metaspaced), workspace.bpe, ids);
        } else {
          append_pieces(plain, workspace, ids);
        }
      });
    });
  }

  std::string_view normalize(std::string_view text, std::string& storage) const {
    if (nfc_) return nfc_->normalize(text, storage);
    if (spec().space_prefix != SpacePrefix::kEveryPart) return text;
    storage = kMetaspace;
    append_metaspaced(text, storage);
    return storage;
  }

  // `text` with U+2581 for spaces, and one more where it gets a space in front. Text that is
  // normalized has all of it.
  std::string_view metaspace(std::string_view text, bool is_first, std::string& storage) const {
    const SpacePrefix prefix = spec().space_prefix;
    if (prefix == SpacePrefix::kEveryPart) return text;
    const bool gets_space = (prefix == SpacePrefix::kPartsWithoutSpace ||
                             (prefix == SpacePrefix::kFirstPart && is_first)) &&
                            !text.starts_with(' ') && !text.starts_with(kMetaspace);
    storage = gets_space ? kMetaspace : std::string_view();
    append_metaspaced(text, storage);
    return storage;
  }

  void append_pieces(std::string_view text, Workspace& workspace,
                     std::vector<std::int32_t>& ids) const {
    workspace.pieces.clear();
    pre_tokenizer_->split(text, workspace.pieces);
    for (const std::string_view piece : workspace.pieces) bpe_.encode(piece, workspace.bpe, ids);
  }

  Vocabulary vocabulary_;
  Bpe bpe_;
  std::optional<PreTokenizer> pre_tokenizer_;  // none with byte_fallback
  std::optional<Nfc> nfc_;
  AddedTokens added_tokens_;       // added and control tokens, but for:
  AddedTokens normalized_tokens_;  // those of TokenizerSpec::normalized_tokens
};

}  // namespace

std::unique_ptr<Tokenizer> make_tokenizer(TokenizerSpec spec, const std::string& path) {
  return std::make_unique<BpeTokenizer>(std::move(spec), path);
}

}  // namespace lockstep::model

// A tokenizer of a handful of tokens: longest match first, from a list of texts.
#pragma once

#include <algorithm>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "model/tokenizer.h"

namespace lockstep::coordinator::testing {

class FakeTokenizer : public model::Tokenizer {
 public:
  // Tokens 0 .. texts.size()-1; those from `first_special` on are control tokens. Text that no
  // token begins is skipped. With `bos`, that token goes first where special tokens are asked for.
  FakeTokenizer(std::vector<std::string> texts, std::size_t first_special,
                std::optional<std::int32_t> bos = std::nullopt)
      : texts_(std::move(texts)), first_special_(first_special), bos_(bos) {}

  std::vector<std::int32_t> encode(std::string_view text, EncodeOptions options) const override {
    std::vector<std::int32_t> ids;
    if (options.add_special_tokens && bos_) ids.push_back(*bos_);
    while (!text.empty()) {
      std::size_t best = texts_.size(), length = 0;
      for (std::size_t id = 0; id < (options.parse_special ? texts_.size() : first_special_);
           ++id) {
        if (texts_[id].size() > length && text.starts_with(texts_[id])) {
          best = id;
          length = texts_[id].size();
        }
      }
      if (length > 0) ids.push_back(static_cast<std::int32_t>(best));
      text.remove_prefix(std::max<std::size_t>(length, 1));
    }
    return ids;
  }
  std::string_view token_bytes(std::int32_t id) const override { return texts_.at(id); }
  bool is_special(std::int32_t id) const override {
    return static_cast<std::size_t>(id) >= first_special_;
  }
  std::optional<std::int32_t> find(std::string_view text) const override {
    const auto at = std::find(texts_.begin(), texts_.end(), text);
    if (at == texts_.end()) return std::nullopt;
    return static_cast<std::int32_t>(at - texts_.begin());
  }
  std::int64_t vocab_size() const override { return static_cast<std::int64_t>(texts_.size()); }
  const model::TokenizerSpec& spec() const override { return spec_; }

  // The text of tokens loses a space that it begins with.
  void strip_first_space() { spec_.strips_first_space = true; }

 private:
  std::vector<std::string> texts_;
  std::size_t first_special_;
  std::optional<std::int32_t> bos_;
  model::TokenizerSpec spec_;
};

// 256 letters (token i is letter i % 26), then "<|start|>" and "<|end|>".
inline FakeTokenizer letters() {
  std::vector<std::string> texts;
  for (int i = 0; i < 256; ++i) texts.push_back(std::string(1, static_cast<char>('a' + i % 26)));
  texts.push_back("<|start|>");
  texts.push_back("<|end|>");
  return FakeTokenizer(std::move(texts), 256, 256);
}

}  // namespace lockstep::coordinator::testing

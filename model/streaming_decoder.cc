#include <utility>

#include "model/tokenizer.h"
#include "model/utf8.h"

namespace lockstep::model {

std::string StreamingDecoder::push(std::int32_t id) {
  std::string text;
  if (skip_special_tokens_ && tokenizer_->is_special(id)) return text;
  pending_.append(tokenizer_->token_bytes(id));
  pending_.erase(0, append_repaired_utf8(pending_, /*more_follows=*/true, text));
  return strip(std::move(text));
}

std::string StreamingDecoder::finish() {
  std::string text;
  append_repaired_utf8(pending_, /*more_follows=*/false, text);
  pending_.clear();
  text = strip(std::move(text));
  has_text_ = false;
  return text;
}

std::string StreamingDecoder::strip(std::string text) {
  if (text.empty()) return text;
  if (strips_space_ && !has_text_ && text.front() == ' ') text.erase(0, 1);
  has_text_ = true;
  return text;
}

}  // namespace lockstep::model

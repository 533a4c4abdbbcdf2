#include "model/tokenizer.h"
#include "model/utf8.h"

namespace lockstep::model {

std::string StreamingDecoder::push(std::int32_t id) {
  std::string text;
  if (skip_special_tokens_ && tokenizer_->is_special(id)) return text;
  pending_.append(tokenizer_->token_bytes(id));
  pending_.erase(0, append_repaired_utf8(pending_, /*more_follows=*/true, text));
  return text;
}

std::string StreamingDecoder::finish() {
  std::string text;
  append_repaired_utf8(pending_, /*more_follows=*/false, text);
  pending_.clear();
  return text;
}

}  // namespace lockstep::model

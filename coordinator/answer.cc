#include "coordinator/answer.h"

#include <utility>

namespace lockstep::coordinator {

Answer::Answer(const model::Tokenizer& tokenizer, AnswerOptions options)
    : tokenizer_(&tokenizer),
      options_(std::move(options)),
      decoder_(tokenizer, options_.skip_special_tokens, options_.begins_text),
      matcher_(options_.stop, options_.include_stop_str_in_output) {}

std::optional<Finish> Answer::push(const comm::SampledToken& token,
                                   const std::optional<Finish>& finish, comm::Delta& delta) {
  ++num_tokens_;
  delta.token_ids.push_back(token.token_id);
  if (options_.logprobs) delta.logprobs.push_back(detail(token));

  std::string text;
  // A token that only marks the end has no place in the text, unless asked for.
  if (!finish || !finish->by_token || options_.include_stop_str_in_output) {
    text = decode(token.token_id);
  }
  if (finish) text += decoder_.finish();
  StopStringMatcher::Output output = matcher_.push(text, num_tokens_ > options_.min_tokens);
  delta.text += output.text;
  if (output.matched && !(finish && finish->by_token)) {
    return Finish{FinishReason::stop, std::move(*output.matched), false};
  }
  if (finish) delta.text += matcher_.finish();
  return finish;
}

std::string Answer::decode(std::int32_t token_id) {
  // Models pad their vocabulary; such an id is a token without text.
  if (token_id < 0 || token_id >= tokenizer_->vocab_size()) return {};
  return decoder_.push(token_id);
}

comm::TokenDetail Answer::detail(std::int32_t token_id, float logprob) const {
  comm::TokenDetail detail{token_id, {}, logprob};
  if (token_id >= 0 && token_id < tokenizer_->vocab_size()) {
    detail.token = tokenizer_->token_bytes(token_id);
  }
  return detail;
}

comm::DeltaToken Answer::detail(const comm::SampledToken& token) const {
  comm::DeltaToken result{detail(token.token_id, token.logprob), {}};
  result.top.reserve(token.top_logprobs.size());
  for (const comm::TokenLogprob& top : token.top_logprobs) {
    result.top.push_back(detail(top.token_id, top.logprob));
  }
  return result;
}

}  // namespace lockstep::coordinator

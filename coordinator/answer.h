// Tokens to what the client reads.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "comm/client_message.h"
#include "comm/message.h"
#include "coordinator/stop_conditions.h"
#include "coordinator/stop_strings.h"
#include "model/tokenizer.h"

namespace lockstep::coordinator {

struct AnswerOptions {
  std::vector<std::string> stop;  // stop strings
  bool include_stop_str_in_output = false;
  bool skip_special_tokens = true;
  std::int32_t min_tokens = 0;  // no stop string counts in the text of the first so many tokens
  bool logprobs = false;
  bool begins_text = false;  // a message of its own, without the space that a tokenizer's decoder
                             // takes off; text that goes on from a prompt keeps it
};

// One request's answer: detokenized, stop strings found and held back.
class Answer {
 public:
  // `tokenizer` must outlive the answer.
  Answer(const model::Tokenizer& tokenizer, AnswerOptions options);

  // Appends one token to `delta`: its id, its logprobs when asked for, and the text that is safe to
  // show. `finish` is what the scheduler decided of it. Returns how the answer ended: a stop string
  // ends it too, and is the reason when the token itself only ran into the length limit.
  // REQUIRES: no earlier call has returned an end.
  std::optional<Finish> push(const comm::SampledToken& token, const std::optional<Finish>& finish,
                             comm::Delta& delta);

  std::int32_t num_tokens() const { return num_tokens_; }

 private:
  std::string decode(std::int32_t token_id);
  comm::TokenDetail detail(std::int32_t token_id, float logprob) const;
  comm::DeltaToken detail(const comm::SampledToken& token) const;

  const model::Tokenizer* tokenizer_;
  AnswerOptions options_;
  model::StreamingDecoder decoder_;
  StopStringMatcher matcher_;
  std::int32_t num_tokens_ = 0;
};

}  // namespace lockstep::coordinator

// From a client's request to one that the scheduler can take, or the reason why not.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/error.h"
#include "comm/client_message.h"
#include "coordinator/answer.h"
#include "coordinator/scheduler.h"
#include "coordinator/sequence.h"
#include "model/chat_template.h"
#include "model/tokenizer.h"

namespace lockstep::coordinator {

struct AdmittedRequest {
  Request request;
  AnswerOptions answer;
};

// What of a request depends on the model is checked here; what does not, the codec has checked
// (comm/client_codec.h). A function of its arguments. It keeps the text that it has encoded last:
// a client that asks for several answers to one prompt sends it as often.
class Admission {
 public:
  // `chat_template` may be nullptr: the model has none. What is passed by reference or pointer must
  // outlive this. `seed` is what the seeds of requests without one are derived from.
  Admission(const SchedulerOptions& options, const model::Tokenizer& tokenizer,
            const model::ChatTemplate* chat_template, std::vector<std::int32_t> eos_token_ids,
            std::uint64_t seed);

  // Tokenizes and checks. Faults: "context_length_exceeded" with all numbers when prompt and
  // max_tokens do not fit into max_model_len or into the whole KV cache; "invalid_request_error"
  // for an empty prompt, token ids outside the vocabulary, messages that cannot be rendered,
  // and tools where the chat template has no place for them.
  Result<AdmittedRequest> admit(const comm::GenerateRequest& request, std::uint64_t sequence_id);

 private:
  struct Encoded {
    std::string text;
    bool add_special_tokens = false;
    std::vector<std::int32_t> token_ids;
  };
  Result<std::vector<std::int32_t>> prompt_tokens(const comm::GenerateRequest& request);
  Result<std::vector<std::int32_t>> encode(const std::string& text, bool add_special_tokens,
                                           const std::string& param);
  Result<std::string> render(const comm::GenerateRequest& request) const;
  Result<std::int32_t> resolve_max_tokens(const comm::GenerateRequest& request,
                                          std::int64_t num_prompt_tokens) const;
  std::uint64_t derive_seed(std::uint64_t sequence_id) const;

  SchedulerOptions options_;
  const model::Tokenizer& tokenizer_;
  const model::ChatTemplate* chat_template_;
  std::vector<std::int32_t> eos_token_ids_;
  std::uint64_t seed_;
  std::size_t longest_token_bytes_ = 0;
  Encoded last_;
};

}  // namespace lockstep::coordinator

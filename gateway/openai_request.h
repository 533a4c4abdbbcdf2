// The bodies of POST /v1/completions and POST /v1/chat/completions
// (https://platform.openai.com/docs/api-reference), with vLLM's extensions, to native requests.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "comm/client_message.h"

namespace lockstep::gateway {

inline constexpr std::int32_t kMaxN = 16;        // answers to one prompt
inline constexpr std::size_t kMaxChoices = 128;  // prompts times n of one call

enum class Endpoint { kCompletions, kChat };

// How a call wants its answer told.
struct AnswerFormat {
  Endpoint endpoint = Endpoint::kCompletions;
  std::size_t num_choices = 0;
  std::int32_t n = 1;  // choices for each prompt
  bool stream = false;
  bool include_usage = false;  // a last chunk with the usage
  bool logprobs = false;
  bool return_token_ids = false;  // vLLM's: the ids of prompt and answer
  std::vector<std::string> stop;  // the client's stop strings
  std::vector<std::string> echo;  // before each choice's answer; empty: nothing
};

// One HTTP call: as many native requests as its answer has choices.
struct CompletionCall {
  AnswerFormat format;
  std::vector<comm::GenerateRequest> requests;  // n for the first prompt, n for the second, ...
};

// Reads one endpoint's body, untrusted. Every member is checked for type and limit, and one that
// is not known is refused by its name: nothing that a client asks for is silently left out. The
// ids of the requests are empty. Faults: "invalid_request_error"; "model_not_found" when the model
// is not `served_model_name`.
Result<CompletionCall> read_completion_request(std::string_view body,
                                               const std::string& served_model_name);
Result<CompletionCall> read_chat_request(std::string_view body,
                                         const std::string& served_model_name);

}  // namespace lockstep::gateway

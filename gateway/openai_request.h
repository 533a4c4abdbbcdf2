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

// One HTTP call: as many native requests as its answer has choices.
struct CompletionCall {
  Endpoint endpoint = Endpoint::kCompletions;
  std::vector<comm::GenerateRequest> requests;  // n for the first prompt, n for the second, ...
  std::int32_t n = 1;
  bool stream = false;
  bool include_usage = false;     // a last chunk with the usage
  bool echo = false;              // the prompt's text before the answer
  bool return_token_ids = false;  // vLLM's: the ids of prompt and answer
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

// Logprobs in the two formats of the OpenAI API.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "comm/client_message.h"
#include "gateway/json_text.h"

namespace lockstep::gateway {

// Chat's `logprobs.content`: one object a token, with its bytes.
Json chat_logprobs(const std::vector<comm::DeltaToken>& tokens);

// Completions' `logprobs`: four parallel arrays. `text_offset`, in code points, is where the first
// token begins in the answer; it is moved past the last one.
Json completion_logprobs(const std::vector<comm::DeltaToken>& tokens, std::size_t& text_offset);

}  // namespace lockstep::gateway

// The native client protocol's structures (docs/protocol.md). The byte format is one msgpack map a
// message (comm/client_codec.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/error.h"
#include "comm/message.h"

namespace lockstep::comm {

// Client to server: one answer please. Exactly one of prompt, prompt_token_ids and messages is set.
struct GenerateRequest {
  std::string id;  // chosen by the client, unique among its open requests; 1 to 128 bytes
  std::optional<std::string> prompt;
  std::optional<std::vector<std::int32_t>> prompt_token_ids;
  std::optional<std::string> messages;       // JSON text: an array of {role, content, ...}
  std::optional<std::string> template_args;  // JSON text: an object of further template variables
  bool add_generation_prompt = true;
  bool add_special_tokens = true;
  std::optional<std::int32_t> max_tokens;  // default: what the context still holds
  std::vector<std::string> stop;           // at most 16, each at most 1,024 bytes, none empty
  bool include_stop_str_in_output = false;
  bool ignore_eos = false;
  bool skip_special_tokens = true;
  std::optional<std::uint64_t> seed;  // default: drawn by the server, told in Accepted
  SamplingParams sampling;            // its seed is ignored here; stop_token_ids: the client's own
};

// Client to server: forget a request. The answer is Done with finish_reason "abort", unless the
// request has ended already.
struct CancelRequest {
  std::string id;
};

// Client to server: how are you? `metrics` asks for the Prometheus text as well.
struct StatusRequest {
  std::string id;
  bool metrics = false;
};

using ClientMessage = std::variant<GenerateRequest, CancelRequest, StatusRequest>;

// Server to client, in this order: Accepted, Delta..., Done; or ErrorReply alone, at any point.
struct Accepted {
  std::string id;
  std::vector<std::int32_t> prompt_token_ids;
  std::uint64_t seed = 0;
};

struct TokenDetail {
  std::int32_t token_id = 0;
  std::string token;  // its bytes; they need not be valid UTF-8
  float logprob = 0.0f;
};

struct DeltaToken {
  TokenDetail chosen;
  std::vector<TokenDetail> top;  // best first
};

struct Delta {
  std::string id;
  std::string text;  // valid UTF-8; may be empty
  std::vector<std::int32_t> token_ids;
  std::vector<DeltaToken> logprobs;  // as many as token_ids when asked for, else empty
};

struct Usage {
  std::int32_t prompt_tokens = 0;
  std::int32_t completion_tokens = 0;
  std::int32_t cached_tokens = 0;  // of the prompt, found in the prefix cache
};

struct Timings {
  double queue_ms = 0;    // arrival to first scheduled
  double prefill_ms = 0;  // first scheduled to first token
  double decode_ms = 0;   // first token to last token
};

struct Done {
  std::string id;
  std::string finish_reason;  // "stop", "length", "abort"
  std::string
      stop_reason;  // the stop string that matched, or the stop token's id in digits; else empty
  Usage usage;
  Timings timings;
  std::string system_fingerprint;  // kernel family and weight format: what the bits depend on
};

struct ErrorReply {
  std::string id;  // empty when the message could not be read
  Fault fault;
};

// What a request is told by a server that stops.
inline Fault shutting_down() { return {"shutting_down", "the server is shutting down", ""}; }

struct StatusReply {
  std::string id;
  bool healthy = false;   // the step counter moves, or nothing is queued, and it takes requests
  bool stopping = false;  // takes no more requests; those that are open may end
  std::string model;      // the served name
  std::string version;
  std::string system_fingerprint;
  std::int32_t world_size = 0;
  std::uint64_t epoch = 0;
  std::uint64_t steps = 0;
  std::int32_t running = 0;
  std::int32_t waiting = 0;
  std::int32_t blocks_total = 0;
  std::int32_t blocks_used = 0;
  std::int32_t max_model_len = 0;
  std::string metrics;  // Prometheus text, when asked for
};

using ServerMessage = std::variant<Accepted, Delta, Done, ErrorReply, StatusReply>;

}  // namespace lockstep::comm

// Serves POST /v1/completions and POST /v1/chat/completions.
#pragma once

#include "gateway/connection.h"
#include "gateway/openai_request.h"
#include "gateway/server_context.h"

namespace lockstep::gateway {

// The status for metrics when the client went away.
inline constexpr int kClientGone = 499;

struct Served {
  int status = 200;
  bool keep_alive = false;  // the connection may carry another request
};

// Answers one call over `connection`: reads the body, hands its requests to the backend, and writes
// what comes back as it comes. When the client goes away, the requests are cancelled at once.
asio::awaitable<Served> serve_completion(ServerContext& context, Connection& connection,
                                         HttpRequest request, Endpoint endpoint);

}  // namespace lockstep::gateway

// The OpenAI-compatible HTTP server in front of one coordinator.
#pragma once

#include <cstdint>
#include <memory>
#include <stop_token>
#include <string>
#include <zmq.hpp>

#include "gateway/http_options.h"

namespace lockstep::gateway {

// A translator: HTTP and JSON on one side, the native client protocol on the other. It has no
// tokenizer and no model. See gateway/README.md.
class HttpServer {
 public:
  // Listens at options.address, and connects to the coordinator at `backend_endpoint` (e.g.
  // "inproc://gateway" or "tcp://127.0.0.1:5555"), which need not be there yet. Throws Error when
  // it cannot listen, or when an option makes no sense. `context` must outlive the server.
  HttpServer(HttpOptions options, zmq::context_t& context, const std::string& backend_endpoint);
  ~HttpServer();

  // Where it listens; connections wait until run().
  std::uint16_t port() const;

  // Serves until `stop` is requested, which says that the backend has ended: what it said last is
  // handed out, and whatever is open after that, or comes then, ends as "shutting_down". Clients
  // that have not taken it within the drain timeout are cut. Throws when the backend's socket
  // fails. Called once.
  void run(std::stop_token stop);

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep::gateway

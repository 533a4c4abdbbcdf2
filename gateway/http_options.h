// How the HTTP server listens, and what it lets clients do.
#pragma once

#include <chrono>
#include <cstddef>
#include <string>

namespace lockstep::gateway {

struct HttpOptions {
  // "127.0.0.1:8000", "[::1]:8000" or "localhost:8000". Other machines reach the server only if the
  // address says so (0.0.0.0, [::] or one of a network). Port 0: the system picks one.
  std::string address = "127.0.0.1:8000";
  std::string served_model_name;  // what requests must call the model; not empty

  std::size_t max_header_bytes = std::size_t{16} << 10;
  std::size_t max_body_bytes = std::size_t{4} << 20;  // also what one text may have
  std::size_t max_connections = 1024;                 // one more gets 503

  // What one client may leave unread in the server, beyond the system's socket buffers. A stream
  // that has more is cancelled and its connection closed.
  std::size_t max_queued_bytes = std::size_t{4} << 20;

  // What all requests together may have waiting for the backend. With more there, a further call is
  // refused as overloaded. (One call may bring 16 times the text of a body: once for each choice.)
  std::size_t max_backend_bytes = std::size_t{128} << 20;

  std::chrono::milliseconds read_timeout{30'000};   // first to last byte of a request
  std::chrono::milliseconds idle_timeout{75'000};   // between two requests
  std::chrono::milliseconds write_timeout{60'000};  // for the client to take what is written
  // For the whole answer; of a stream, for whatever comes next of it: one that goes on is never
  // cut.
  std::chrono::milliseconds request_timeout{600'000};
  std::chrono::milliseconds health_timeout{1'000};  // for the backend to tell its status
  // With requests open and nothing heard from the backend for so long, it counts as gone.
  std::chrono::milliseconds backend_timeout{30'000};
  std::chrono::milliseconds drain_timeout{5'000};  // for clients to take their last words at a stop
};

}  // namespace lockstep::gateway

// The terminal commands' end of the native protocol.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <zmq.hpp>

#include "base/error.h"
#include "comm/client_message.h"

namespace lockstep::launch {

// One answer, put together.
struct Answer {
  std::string text;
  std::vector<std::int32_t> token_ids;
  std::vector<comm::DeltaToken> logprobs;
  comm::Accepted accepted;
  comm::Done done;
  double seconds = 0;  // sent to done, as the client saw it
};

// A DEALER connected to one server; one request at a time. Used by one thread. A server that
// restarts is found again by the next call.
class NativeClient {
 public:
  // `timeout`: for the connection, and for the server's first word about each request. Throws Error
  // when `address` is none.
  NativeClient(std::string address, std::chrono::milliseconds timeout);

  // Asks the server for its status. Throws Error naming the address when nobody answers in time.
  comm::StatusReply status();

  // Sends `request` and gives every delta to `on_delta`. Once `cancelled()` is true the request is
  // cancelled, and its Done comes with finish_reason "abort". A refusal is a Fault. Throws Error
  // naming the address when nobody answers in time (to the request, or to its cancellation) and
  // when the connection is lost, with which the server forgets the request.
  Result<Answer> generate(comm::GenerateRequest request,
                          const std::function<void(const comm::Delta&)>& on_delta,
                          const std::function<bool()>& cancelled);

 private:
  using Clock = std::chrono::steady_clock;

  // Waits until there is a connection, so that no request queues for a server that is not there:
  // it would compute an answer that nobody reads. Throws Error at the timeout and once `cancelled`.
  void connect(const std::function<bool()>& cancelled);
  void send(const comm::ClientMessage& message);
  // The next message, or nothing within a short while (so that a cancellation is noticed). Throws
  // Error when the connection has been lost and nothing is left of what had come before.
  std::optional<comm::ServerMessage> receive();
  void read_events();
  [[noreturn]] void throw_no_answer() const;
  std::string next_id();

  std::string address_;
  std::chrono::milliseconds timeout_;
  zmq::context_t context_;
  zmq::socket_t socket_;
  zmq::socket_t monitor_;  // tells of the socket's connections
  bool connected_ = false;
  bool lost_ = false;  // a connection, since the request began
  int requests_ = 0;
};

}  // namespace lockstep::launch

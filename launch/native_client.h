// The terminal commands' end of the native protocol.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <zmq.hpp>

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

// A DEALER connected to one server; one request at a time. Used by one thread.
class NativeClient {
 public:
  NativeClient(std::string address, std::chrono::milliseconds timeout);

  // Asks the server for its status: throws Error naming the address when nobody answers in time.
  comm::StatusReply status();

  // Sends `request` and gives every delta to `on_delta`. While `cancelled()` is true the request is
  // cancelled (once), and its Done comes with finish_reason "abort". A refusal is a Fault. Throws
  // Error when the server falls silent for the timeout before it has accepted, or has gone.
  Result<Answer> generate(comm::GenerateRequest request,
                          const std::function<void(const comm::Delta&)>& on_delta,
                          const std::function<bool()>& cancelled);

 private:
  void send(const comm::ClientMessage& message);
  // The next message, or nothing within a short while (so that a cancellation is noticed).
  std::optional<comm::ServerMessage> receive();
  std::string next_id();

  std::string address_;
  std::chrono::milliseconds timeout_;
  zmq::context_t context_;
  zmq::socket_t socket_;
  int requests_ = 0;
};

}  // namespace lockstep::launch

// The socket that clients talk to.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>
#include <zmq.hpp>

namespace lockstep::coordinator {

struct ClientFrame {
  std::string identity;  // of the client's connection, as ZeroMQ gives it
  zmq::message_t body;   // empty when the client sent other than one frame
};

// A ROUTER bound to every endpoint. Memory is bounded on both sides: messages by size, queues by
// count, and a peer that stops answering heartbeats is disconnected.
class ClientSocket {
 public:
  // Throws Error naming the endpoint that cannot be bound.
  ClientSocket(zmq::context_t& context, const std::vector<std::string>& endpoints);

  // The next message, or nothing when none has come; never waits.
  std::optional<ClientFrame> receive();

  enum class SendResult {
    sent,
    gone,  // no such client is connected any more
    full,  // it does not read, and its queue is full
  };
  // Queues a message; never waits.
  SendResult send(const std::string& identity, std::string_view body);

  zmq::socket_ref pollable() { return socket_; }

  // Where it is bound: the endpoints asked for, with the port that a "tcp://...:*" was given.
  const std::vector<std::string>& endpoints() const { return bound_; }

 private:
  zmq::socket_t socket_;
  std::vector<std::string> bound_;
};

}  // namespace lockstep::coordinator

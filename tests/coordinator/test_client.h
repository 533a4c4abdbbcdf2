// A client of the native protocol, as short as it can be.
#pragma once

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "comm/client_codec.h"

namespace lockstep::coordinator::testing {

// What came for one request, put together.
struct Collected {
  std::optional<comm::Accepted> accepted;
  std::string text;
  std::vector<std::int32_t> token_ids;
  std::size_t num_deltas = 0;
  std::optional<comm::Done> done;
  std::optional<comm::ErrorReply> error;
};

class TestClient {
 public:
  TestClient(zmq::context_t& context, const std::string& endpoint)
      : socket_(context, zmq::socket_type::dealer) {
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::rcvtimeo, 10000);
    socket_.connect(endpoint);
  }

  void send(const comm::ClientMessage& message) { send_bytes(comm::encode(message)); }
  void send_bytes(const std::string& bytes) {
    socket_.send(zmq::buffer(bytes), zmq::send_flags::none);
  }

  // The next message of a server; fails the test after 10 s.
  comm::ServerMessage receive() {
    zmq::message_t message;
    if (!socket_.recv(message)) {
      ADD_FAILURE() << "no message within 10 s";
      return comm::ErrorReply{};
    }
    auto decoded = comm::decode_server_message(
        std::span<const std::byte>(static_cast<const std::byte*>(message.data()), message.size()));
    if (!decoded) {
      ADD_FAILURE() << decoded.fault().message;
      return comm::ErrorReply{};
    }
    return std::move(*decoded);
  }

  // Everything up to the end of request `id`. Messages of other requests are a failure.
  Collected collect(const std::string& id) {
    Collected collected;
    while (!collected.done && !collected.error && !::testing::Test::HasFailure()) {
      const comm::ServerMessage message = receive();
      std::visit([&](const auto& m) { EXPECT_EQ(m.id, id); }, message);
      if (const auto* accepted = std::get_if<comm::Accepted>(&message)) {
        EXPECT_EQ(collected.num_deltas, 0u);
        collected.accepted = *accepted;
      } else if (const auto* delta = std::get_if<comm::Delta>(&message)) {
        collected.text += delta->text;
        collected.token_ids.insert(collected.token_ids.end(), delta->token_ids.begin(),
                                   delta->token_ids.end());
        ++collected.num_deltas;
      } else if (const auto* done = std::get_if<comm::Done>(&message)) {
        collected.done = *done;
      } else if (const auto* error = std::get_if<comm::ErrorReply>(&message)) {
        collected.error = *error;
      }
    }
    return collected;
  }

  zmq::socket_t& socket() { return socket_; }

 private:
  zmq::socket_t socket_;
};

}  // namespace lockstep::coordinator::testing

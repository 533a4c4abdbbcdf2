// A server of the native protocol without a model, on a loopback port.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <utility>
#include <vector>
#include <zmq.hpp>

#include "comm/client_codec.h"

namespace lockstep::launch {

// Answers every message with what `script` returns for it; gone when destroyed.
class ScriptedServer {
 public:
  using Script = std::function<std::vector<comm::ServerMessage>(const comm::ClientMessage&)>;

  // An `endpoint` with a port * takes a free one.
  ScriptedServer(Script script, const std::string& endpoint = "tcp://127.0.0.1:*")
      : script_(std::move(script)), socket_(context_, zmq::socket_type::router) {
    socket_.set(zmq::sockopt::linger, 1000);
    socket_.set(zmq::sockopt::sndhwm, 0);
    socket_.bind(endpoint);
    endpoint_ = socket_.get(zmq::sockopt::last_endpoint);
    thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
  }

  const std::string& endpoint() const { return endpoint_; }

  // All that has come.
  std::vector<comm::ClientMessage> received() {
    const std::lock_guard lock(mutex_);
    return received_;
  }

 private:
  void run(std::stop_token stop) {
    while (!stop.stop_requested()) {
      zmq::pollitem_t item{socket_.handle(), 0, ZMQ_POLLIN, 0};
      if (zmq::poll(&item, 1, std::chrono::milliseconds(5)) == 0) continue;
      zmq::message_t client, frame;
      static_cast<void>(socket_.recv(client));
      static_cast<void>(socket_.recv(frame));
      const auto message =
          comm::decode_client_message({static_cast<const std::byte*>(frame.data()), frame.size()});
      const std::lock_guard lock(mutex_);
      received_.push_back(message.value());
      for (const auto& reply : script_(*message)) {
        socket_.send(zmq::buffer(client.data(), client.size()), zmq::send_flags::sndmore);
        socket_.send(zmq::buffer(comm::encode(reply)), zmq::send_flags::none);
      }
    }
  }

  Script script_;
  zmq::context_t context_;
  zmq::socket_t socket_;
  std::string endpoint_;
  std::mutex mutex_;  // guards received_
  std::vector<comm::ClientMessage> received_;
  std::jthread thread_;
};

}  // namespace lockstep::launch

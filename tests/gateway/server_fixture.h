// An HttpServer on a loopback port, a fake coordinator behind it, and what ends both.
#pragma once

#include <chrono>
#include <stop_token>
#include <string>
#include <thread>
#include <utility>
#include <zmq.hpp>

#include "gateway/http_server.h"
#include "tests/gateway/fake_coordinator.h"
#include "tests/gateway/http_client.h"

namespace lockstep::gateway {

inline HttpOptions test_options() {
  HttpOptions options;
  options.address = "127.0.0.1:0";
  options.served_model_name = "tiny";
  options.drain_timeout = std::chrono::milliseconds(0);
  return options;
}

// Answers every request "Hello, world!" in two tokens, and is healthy.
inline FakeCoordinator::Script friendly_script() {
  return {[](const comm::GenerateRequest& request) {
            return answer_of_words(request, {"Hello,", " world!"});
          },
          [](const comm::StatusRequest& request) -> std::optional<comm::StatusReply> {
            return healthy_status(request.id);
          }};
}

// Accepts every request and leaves the rest to the test.
inline FakeCoordinator::Script accepting_script() {
  FakeCoordinator::Script script = friendly_script();
  script.generate = [](const comm::GenerateRequest& request) {
    return FakeCoordinator::Messages{accepted_reply(request.id)};
  };
  return script;
}

class ServerFixture {
 public:
  explicit ServerFixture(FakeCoordinator::Script script = friendly_script(),
                         HttpOptions options = test_options())
      : coordinator(context_, "inproc://gateway", std::move(script)),
        server_(std::move(options), context_, "inproc://gateway"),
        thread_([this](std::stop_token stop) { server_.run(std::move(stop)); }) {}

  std::uint16_t port() const { return server_.port(); }
  // Asks the server to stop and waits until it has.
  void stop() { thread_ = {}; }
  void request_stop() { thread_.request_stop(); }

  ClientResponse get(const std::string& path) const { return HttpClient(port()).get(path); }
  ClientResponse post(const std::string& path, const std::string& body) const {
    return HttpClient(port()).post(path, body);
  }

 private:
  zmq::context_t context_;

 public:
  FakeCoordinator coordinator;

 private:
  HttpServer server_;
  std::jthread thread_;
};

}  // namespace lockstep::gateway

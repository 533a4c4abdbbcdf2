// A coordinator without a model: it speaks the native protocol and does what the test says.
#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>
#include <zmq.hpp>

#include "comm/client_message.h"

namespace lockstep::gateway {

class FakeCoordinator {
 public:
  using Messages = std::vector<comm::ServerMessage>;
  struct Script {
    // Called on the coordinator's thread. What they return is sent at once.
    std::function<Messages(const comm::GenerateRequest&)> generate;
    std::function<std::optional<comm::StatusReply>(const comm::StatusRequest&)> status;
  };

  FakeCoordinator(zmq::context_t& context, const std::string& endpoint, Script script);

  // Sends a later message about a request that has been received.
  void send(comm::ServerMessage message);
  // Ends when all of that is sent.
  void end();

  // What has come so far; the first waits until there are `count`, at most 10 s.
  std::vector<comm::GenerateRequest> wait_for_requests(std::size_t count);
  std::vector<std::string> wait_for_cancels(std::size_t count);

 private:
  void run(std::stop_token stop);
  void send_outbox();
  void receive(const std::string& client, zmq::message_t frame);
  void reply(const comm::ServerMessage& message);

  Script script_;
  zmq::socket_t socket_;
  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::vector<comm::GenerateRequest> requests_;
  std::vector<std::string> cancels_;
  Messages outbox_;
  std::map<std::string, std::string> clients_;  // request id to ZeroMQ identity
  std::jthread thread_;
};

// Accepted, a delta for each word of `words`, Done "stop". Token ids count from 1, the prompt is
// token 7 three times.
FakeCoordinator::Messages answer_of_words(const comm::GenerateRequest& request,
                                          const std::vector<std::string>& words);
comm::Accepted accepted_reply(const std::string& id);
comm::Delta delta_reply(const std::string& id, const std::string& text, std::int32_t token_id);
comm::Done done_reply(const std::string& id, std::int32_t completion_tokens);
comm::StatusReply healthy_status(const std::string& id);

}  // namespace lockstep::gateway

#include "tests/gateway/fake_coordinator.h"

#include <utility>

#include "comm/client_codec.h"

namespace lockstep::gateway {

using std::chrono_literals::operator""ms;
using std::chrono_literals::operator""s;

FakeCoordinator::FakeCoordinator(zmq::context_t& context, const std::string& endpoint,
                                 Script script)
    : script_(std::move(script)), socket_(context, zmq::socket_type::router) {
  socket_.set(zmq::sockopt::linger, 0);
  socket_.set(zmq::sockopt::sndhwm, 1'000'000);
  socket_.bind(endpoint);
  thread_ = std::jthread([this](std::stop_token stop) { run(stop); });
}

void FakeCoordinator::send(comm::ServerMessage message) {
  const std::lock_guard lock(mutex_);
  outbox_.push_back(std::move(message));
}

void FakeCoordinator::end() {
  thread_ = {};
  send_outbox();
}

std::vector<comm::GenerateRequest> FakeCoordinator::wait_for_requests(std::size_t count) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, 10s, [&] { return requests_.size() >= count; });
  return requests_;
}

std::vector<std::string> FakeCoordinator::wait_for_cancels(std::size_t count) {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, 10s, [&] { return cancels_.size() >= count; });
  return cancels_;
}

void FakeCoordinator::run(std::stop_token stop) {
  while (!stop.stop_requested()) {
    zmq::pollitem_t item{socket_.handle(), 0, ZMQ_POLLIN, 0};
    zmq::poll(&item, 1, 2ms);
    zmq::message_t identity;
    while (socket_.recv(identity, zmq::recv_flags::dontwait)) {
      zmq::message_t frame;
      static_cast<void>(socket_.recv(frame));
      receive(identity.to_string(), std::move(frame));
    }
    send_outbox();
  }
}

void FakeCoordinator::send_outbox() {
  const std::lock_guard lock(mutex_);
  for (const comm::ServerMessage& message : std::exchange(outbox_, {})) reply(message);
}

void FakeCoordinator::receive(const std::string& client, zmq::message_t frame) {
  const auto message =
      comm::decode_client_message({static_cast<const std::byte*>(frame.data()), frame.size()});
  if (!message) throw std::runtime_error(message.fault().message);
  const std::lock_guard lock(mutex_);
  if (const auto* request = std::get_if<comm::GenerateRequest>(&*message)) {
    clients_[request->id] = client;
    requests_.push_back(*request);
    for (const auto& answer : script_.generate(*request)) reply(answer);
  } else if (const auto* cancel = std::get_if<comm::CancelRequest>(&*message)) {
    cancels_.push_back(cancel->id);
  } else if (const auto* status = std::get_if<comm::StatusRequest>(&*message)) {
    clients_[status->id] = client;
    if (const auto answer = script_.status(*status)) reply(*answer);
  }
  changed_.notify_all();
}

void FakeCoordinator::reply(const comm::ServerMessage& message) {
  const std::string id = std::visit([](const auto& m) { return m.id; }, message);
  socket_.send(zmq::buffer(clients_.at(id)), zmq::send_flags::sndmore);
  socket_.send(zmq::buffer(comm::encode(message)), zmq::send_flags::none);
}

FakeCoordinator::Messages answer_of_words(const comm::GenerateRequest& request,
                                          const std::vector<std::string>& words) {
  FakeCoordinator::Messages messages = {accepted_reply(request.id)};
  std::int32_t token_id = 0;
  for (const std::string& word : words) {
    comm::Delta delta = delta_reply(request.id, word, ++token_id);
    if (request.sampling.logprobs >= 0) {
      const comm::TokenDetail chosen{token_id, word, -0.5f};
      delta.logprobs.push_back({chosen, {}});
      delta.logprobs[0].top.assign(static_cast<std::size_t>(request.sampling.logprobs), chosen);
    }
    messages.push_back(std::move(delta));
  }
  messages.push_back(done_reply(request.id, token_id));
  return messages;
}

comm::Accepted accepted_reply(const std::string& id) { return {id, {7, 7, 7}, 1}; }

comm::Delta delta_reply(const std::string& id, const std::string& text, std::int32_t token_id) {
  return {id, text, {token_id}, {}};
}

comm::Done done_reply(const std::string& id, std::int32_t completion_tokens) {
  return {id, "stop", "", {3, completion_tokens, 2}, {}, "fake-fp32"};
}

comm::StatusReply healthy_status(const std::string& id) {
  comm::StatusReply status;
  status.id = id;
  status.healthy = true;
  status.model = "tiny";
  status.version = "1.2.3";
  status.system_fingerprint = "fake-fp32";
  status.world_size = 2;
  status.epoch = 1;
  status.max_model_len = 2048;
  return status;
}

}  // namespace lockstep::gateway

#include "launch/native_client.h"

#include <utility>

#include "base/error.h"
#include "comm/client_codec.h"

namespace lockstep::launch {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds kPoll{50};

}  // namespace

NativeClient::NativeClient(std::string address, std::chrono::milliseconds timeout)
    : address_(std::move(address)), timeout_(timeout), socket_(context_, zmq::socket_type::dealer) {
  socket_.set(zmq::sockopt::linger, 500);
  socket_.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(comm::kMaxClientMessageBytes));
  socket_.set(zmq::sockopt::heartbeat_ivl, 2000);
  socket_.set(zmq::sockopt::heartbeat_timeout, 10000);
  try {
    socket_.connect(address_);
  } catch (const zmq::error_t& error) {
    throw Error("cannot connect to '" + address_ + "': " + error.what());
  }
}

void NativeClient::send(const comm::ClientMessage& message) {
  const std::string bytes = comm::encode(message);
  if (!socket_.send(zmq::buffer(bytes), zmq::send_flags::dontwait)) {
    throw Error("the server at " + address_ + " takes no messages");
  }
}

std::optional<comm::ServerMessage> NativeClient::receive() {
  zmq::pollitem_t item{socket_.handle(), 0, ZMQ_POLLIN, 0};
  try {
    if (zmq::poll(&item, 1, kPoll) == 0) return std::nullopt;
  } catch (const zmq::error_t& error) {
    if (error.num() == EINTR) return std::nullopt;  // Ctrl-C: the caller looks
    throw;
  }
  zmq::message_t message;
  if (!socket_.recv(message, zmq::recv_flags::dontwait)) return std::nullopt;
  auto decoded =
      comm::decode_server_message({static_cast<const std::byte*>(message.data()), message.size()});
  if (!decoded) throw Error("the server at " + address_ + " sent: " + decoded.fault().message);
  return std::move(*decoded);
}

std::string NativeClient::next_id() { return std::to_string(++requests_); }

comm::StatusReply NativeClient::status() {
  send(comm::StatusRequest{.id = next_id()});
  const auto deadline = Clock::now() + timeout_;
  while (Clock::now() < deadline) {
    auto message = receive();
    if (!message) continue;
    if (auto* reply = std::get_if<comm::StatusReply>(&*message)) return std::move(*reply);
  }
  throw Error("no answer from " + address_ + " within " + std::to_string(timeout_.count()) + " ms");
}

Result<Answer> NativeClient::generate(comm::GenerateRequest request,
                                      const std::function<void(const comm::Delta&)>& on_delta,
                                      const std::function<bool()>& cancelled) {
  request.id = next_id();
  const std::string id = request.id;
  const auto begin = Clock::now();
  send(std::move(request));
  Answer answer;
  bool accepted = false, cancel_sent = false;
  while (true) {
    if (cancelled() && !cancel_sent) {
      send(comm::CancelRequest{.id = id});
      cancel_sent = true;
    }
    auto message = receive();
    if (!message) {
      if (!accepted && Clock::now() - begin > timeout_) {
        throw Error("no answer from " + address_ + " within " + std::to_string(timeout_.count()) +
                    " ms");
      }
      continue;
    }
    if (auto* reply = std::get_if<comm::Accepted>(&*message); reply && reply->id == id) {
      answer.accepted = std::move(*reply);
      accepted = true;
    } else if (auto* delta = std::get_if<comm::Delta>(&*message); delta && delta->id == id) {
      on_delta(*delta);
      answer.text += delta->text;
      answer.token_ids.insert(answer.token_ids.end(), delta->token_ids.begin(),
                              delta->token_ids.end());
      for (auto& token : delta->logprobs) answer.logprobs.push_back(std::move(token));
    } else if (auto* done = std::get_if<comm::Done>(&*message); done && done->id == id) {
      answer.done = std::move(*done);
      answer.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
      return answer;
    } else if (auto* error = std::get_if<comm::ErrorReply>(&*message);
               error && (error->id == id || error->id.empty())) {
      return error->fault;
    }
  }
}

}  // namespace lockstep::launch

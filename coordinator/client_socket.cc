#include "coordinator/client_socket.h"

#include <cerrno>
#include <cstdint>

#include "base/error.h"
#include "comm/client_codec.h"

namespace lockstep::coordinator {
namespace {

// Per client. Answers are small, a delta a request and step; requests may be long.
constexpr int kMaxQueuedReplies = 16384;
constexpr int kMaxQueuedRequests = 64;
constexpr int kHeartbeatIntervalMs = 2000;
constexpr int kHeartbeatTimeoutMs = 10000;
// How long a closed socket goes on sending: the last words of a failing replica.
constexpr int kLingerMs = 1000;

// Repeats a socket call that a signal has interrupted.
template <class Call>
auto uninterrupted(Call call) {
  for (;;) {
    try {
      return call();
    } catch (const zmq::error_t& error) {
      if (error.num() != EINTR) throw;
    }
  }
}

}  // namespace

ClientSocket::ClientSocket(zmq::context_t& context, const std::vector<std::string>& endpoints)
    : socket_(context, zmq::socket_type::router) {
  socket_.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(comm::kMaxClientMessageBytes));
  socket_.set(zmq::sockopt::sndhwm, kMaxQueuedReplies);
  socket_.set(zmq::sockopt::rcvhwm, kMaxQueuedRequests);
  socket_.set(zmq::sockopt::linger, kLingerMs);
  // Without it, replies to a client that has gone would vanish silently.
  socket_.set(zmq::sockopt::router_mandatory, true);
  socket_.set(zmq::sockopt::heartbeat_ivl, kHeartbeatIntervalMs);
  socket_.set(zmq::sockopt::heartbeat_timeout, kHeartbeatTimeoutMs);
  socket_.set(zmq::sockopt::heartbeat_ttl, kHeartbeatTimeoutMs);
  for (const std::string& endpoint : endpoints) {
    try {
      socket_.bind(endpoint);
    } catch (const zmq::error_t& error) {
      throw Error("cannot listen on " + endpoint + ": " + error.what());
    }
    bound_.push_back(socket_.get(zmq::sockopt::last_endpoint));
  }
}

std::optional<ClientFrame> ClientSocket::receive() {
  zmq::message_t identity;
  const auto receive = [this](zmq::message_t& part, zmq::recv_flags flags) {
    return uninterrupted([&] { return socket_.recv(part, flags); }).has_value();
  };
  if (!receive(identity, zmq::recv_flags::dontwait)) return std::nullopt;
  ClientFrame frame{identity.to_string(), {}};
  int num_frames = 0;
  while (socket_.get(zmq::sockopt::rcvmore)) {
    // The parts of a message arrive together, so this does not wait.
    receive(frame.body, zmq::recv_flags::none);
    ++num_frames;
  }
  if (num_frames != 1) frame.body.rebuild();
  return frame;
}

ClientSocket::SendResult ClientSocket::send(const std::string& identity, std::string_view body) {
  const auto send = [this](std::string_view part, zmq::send_flags flags) {
    return uninterrupted([&] { return socket_.send(zmq::buffer(part), flags); }).has_value();
  };
  try {
    if (!send(identity, zmq::send_flags::sndmore | zmq::send_flags::dontwait)) {
      return SendResult::full;
    }
    send(body, zmq::send_flags::dontwait);
    return SendResult::sent;
  } catch (const zmq::error_t& error) {
    if (error.num() == EHOSTUNREACH) return SendResult::gone;
    throw;
  }
}

}  // namespace lockstep::coordinator

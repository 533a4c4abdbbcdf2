#include "launch/native_client.h"

#include <cstring>
#include <utility>

#include "comm/client_codec.h"

namespace lockstep::launch {
namespace {

constexpr std::chrono::milliseconds kPoll{50};
constexpr const char* kMonitorEndpoint = "inproc://connection";

// Returns when the socket has something to read, after a short while, or at a signal (Ctrl-C: the
// caller looks).
void wait(zmq::socket_ref socket) {
  zmq::pollitem_t item{socket.handle(), 0, ZMQ_POLLIN, 0};
  try {
    zmq::poll(&item, 1, kPoll);
  } catch (const zmq::error_t& error) {
    if (error.num() != EINTR) throw;
  }
}

// Adds a delta to the answer.
void append(Answer& answer, comm::Delta delta) {
  answer.text += delta.text;
  answer.token_ids.insert(answer.token_ids.end(), delta.token_ids.begin(), delta.token_ids.end());
  for (auto& token : delta.logprobs) answer.logprobs.push_back(std::move(token));
}

}  // namespace

NativeClient::NativeClient(std::string address, std::chrono::milliseconds timeout)
    : address_(std::move(address)),
      timeout_(timeout),
      socket_(context_, zmq::socket_type::dealer),
      monitor_(context_, zmq::socket_type::pair) {
  socket_.set(zmq::sockopt::linger, 500);
  socket_.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(comm::kMaxClientMessageBytes));
  socket_.set(zmq::sockopt::heartbeat_ivl, 2000);
  socket_.set(zmq::sockopt::heartbeat_timeout, 10000);
  // What the server has said before it went is kept, however much it is.
  socket_.set(zmq::sockopt::rcvhwm, 0);
  monitor_.set(zmq::sockopt::linger, 0);
  // ZMQ_IMMEDIATE would keep requests from queueing for a server that is not there as well, but a
  // connection that is lost then takes with it what has come and is not read yet.
  if (zmq_socket_monitor(socket_.handle(), kMonitorEndpoint,
                         ZMQ_EVENT_HANDSHAKE_SUCCEEDED | ZMQ_EVENT_DISCONNECTED) != 0) {
    throw zmq::error_t();
  }
  monitor_.connect(kMonitorEndpoint);
  try {
    socket_.connect(address_);
  } catch (const zmq::error_t& error) {
    throw Error("cannot connect to '" + address_ + "': " + error.what());
  }
}

void NativeClient::read_events() {
  zmq::message_t event, address;
  while (monitor_.recv(event, zmq::recv_flags::dontwait)) {
    static_cast<void>(monitor_.recv(address));  // the second frame of the same message
    std::uint16_t kind;  // the first frame: this, and a 32-bit value (zmq_socket_monitor(3))
    std::memcpy(&kind, event.data(), sizeof kind);
    connected_ = kind == ZMQ_EVENT_HANDSHAKE_SUCCEEDED;
    lost_ = lost_ || !connected_;
  }
}

void NativeClient::connect(const std::function<bool()>& cancelled) {
  const auto deadline = Clock::now() + timeout_;
  for (read_events(); !connected_; read_events()) {
    if (cancelled()) throw Error("cancelled before " + address_ + " had answered");
    if (Clock::now() >= deadline) throw_no_answer();
    wait(monitor_);
  }
  lost_ = false;
}

void NativeClient::send(const comm::ClientMessage& message) {
  if (!socket_.send(zmq::buffer(comm::encode(message)), zmq::send_flags::dontwait)) {
    throw Error("the server at " + address_ + " takes no messages");
  }
}

std::optional<comm::ServerMessage> NativeClient::receive() {
  read_events();  // first: what had come before a loss is read before the loss is told
  if (!lost_) wait(socket_);
  zmq::message_t message;
  if (!socket_.recv(message, zmq::recv_flags::dontwait)) {
    if (lost_) throw Error("lost the connection to " + address_);
    return std::nullopt;
  }
  auto decoded =
      comm::decode_server_message({static_cast<const std::byte*>(message.data()), message.size()});
  if (!decoded) throw Error("the server at " + address_ + " sent: " + decoded.fault().message);
  return std::move(*decoded);
}

void NativeClient::throw_no_answer() const {
  throw Error("no answer from " + address_ + " within " + std::to_string(timeout_.count()) + " ms");
}

std::string NativeClient::next_id() { return std::to_string(++requests_); }

comm::StatusReply NativeClient::status() {
  connect([] { return false; });
  const std::string id = next_id();
  send(comm::StatusRequest{.id = id});
  const auto deadline = Clock::now() + timeout_;
  while (Clock::now() < deadline) {
    auto message = receive();
    if (!message) continue;
    if (auto* reply = std::get_if<comm::StatusReply>(&*message); reply && reply->id == id) {
      return std::move(*reply);
    }
  }
  throw_no_answer();
}

Result<Answer> NativeClient::generate(comm::GenerateRequest request,
                                      const std::function<void(const comm::Delta&)>& on_delta,
                                      const std::function<bool()>& cancelled) {
  connect(cancelled);
  request.id = next_id();
  const std::string id = request.id;
  const auto begin = Clock::now();
  send(std::move(request));
  Answer answer;
  bool cancel_sent = false;
  // When the server must have spoken: to accept the request, later to confirm its cancellation.
  std::optional<Clock::time_point> deadline = Clock::now() + timeout_;
  while (true) {
    const bool overdue = deadline && Clock::now() >= *deadline;
    if (!cancel_sent && (overdue || cancelled())) {
      send(comm::CancelRequest{.id = id});
      cancel_sent = true;
      if (!overdue) deadline = Clock::now() + timeout_;
    }
    if (overdue) throw_no_answer();
    auto message = receive();
    if (!message) continue;
    if (auto* reply = std::get_if<comm::Accepted>(&*message); reply && reply->id == id) {
      answer.accepted = std::move(*reply);
      if (!cancel_sent) deadline.reset();
    } else if (auto* delta = std::get_if<comm::Delta>(&*message); delta && delta->id == id) {
      on_delta(*delta);
      append(answer, std::move(*delta));
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

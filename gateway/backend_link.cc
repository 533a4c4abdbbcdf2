#include "gateway/backend_link.h"

#include <spdlog/spdlog.h>

#include <utility>
#include <vector>

#include "base/error.h"
#include "comm/client_codec.h"

namespace lockstep::gateway {
namespace {

constexpr int kMaxQueuedMessages = 16384;
// Messages handled before other work has its turn.
constexpr int kMaxMessagesPerRound = 1024;
// How long a closed socket goes on sending: cancellations.
constexpr int kLingerMs = 1000;
// Status replies with metrics are the longest messages.
constexpr std::int64_t kMaxReplyBytes = std::int64_t{64} << 20;

const std::string& id_of(const comm::ServerMessage& message) {
  return std::visit([](const auto& m) -> const std::string& { return m.id; }, message);
}

zmq::socket_t connect(zmq::context_t& context, const std::string& endpoint) {
  try {
    zmq::socket_t socket(context, zmq::socket_type::dealer);
    socket.set(zmq::sockopt::sndhwm, kMaxQueuedMessages);
    socket.set(zmq::sockopt::rcvhwm, kMaxQueuedMessages);
    socket.set(zmq::sockopt::maxmsgsize, kMaxReplyBytes);
    socket.set(zmq::sockopt::linger, kLingerMs);
    socket.connect(endpoint);
    return socket;
  } catch (const zmq::error_t& error) {
    throw Error("cannot connect to " + endpoint + ": " + error.what());
  }
}

}  // namespace

BackendLink::BackendLink(const asio::any_io_executor& executor, zmq::context_t& context,
                         const std::string& endpoint, std::chrono::milliseconds silence_limit)
    : executor_(executor),
      silence_limit_(silence_limit),
      socket_(connect(context, endpoint)),
      descriptor_(executor, socket_.get(zmq::sockopt::fd)),
      tick_(executor) {}

BackendLink::~BackendLink() { descriptor_.release(); }

asio::awaitable<void> BackendLink::receive() {
  while (!closed_) {
    if (!drain()) {
      co_await asio::post(executor_, asio::use_awaitable);
      continue;
    }
    error_code woken;
    co_await descriptor_.async_wait(asio::posix::stream_descriptor::wait_read, error_to(woken));
  }
}

asio::awaitable<void> BackendLink::watch() {
  while (!closed_) {
    tick_.expires_after(silence_limit_ / 4);
    error_code cancelled;
    co_await tick_.async_wait(error_to(cancelled));
    if (closed_) break;
    send_cancels();
    if (handlers_.empty()) continue;
    check_silence(Clock::now());
    // Whatever else it does, a backend that is there answers this.
    const comm::StatusRequest ping{"ping-" + std::to_string(++num_status_requests_), false};
    static_cast<void>(send(ping));  // not taken: the silence tells
  }
}

void BackendLink::take_last_words() {
  while (!drain()) continue;
}

void BackendLink::close(const Fault& fault) {
  fail_all(fault);
  closed_ = true;
  tick_.cancel();
  error_code ignored;  // there is nothing to cancel when nobody waits
  descriptor_.cancel(ignored);
}

bool BackendLink::open(const std::string& id, const comm::ClientMessage& message, Handler handler) {
  // Silence counts from the first request on: an idle backend owes nothing.
  if (handlers_.empty()) last_heard_ = Clock::now();
  if (closed_ || !send(message)) return false;
  handlers_.insert_or_assign(id, std::move(handler));
  return true;
}

void BackendLink::forget(const std::string& id, bool cancel) {
  handlers_.erase(id);
  if (!cancel) return;
  cancels_.push_back(id);
  send_cancels();
}

asio::awaitable<std::optional<comm::StatusReply>> BackendLink::status(
    bool metrics, std::chrono::milliseconds timeout) {
  const std::string id = "status-" + std::to_string(++num_status_requests_);
  std::optional<comm::StatusReply> reply;
  Signal answered(executor_);
  const bool sent =
      open(id, comm::StatusRequest{id, metrics}, [&](const comm::ServerMessage& message) {
        if (const auto* status = std::get_if<comm::StatusReply>(&message)) reply = *status;
        answered.raise();
      });
  if (!sent) co_return std::nullopt;
  const Clock::time_point deadline = Clock::now() + timeout;
  co_await answered.wait_until(deadline);
  forget(id, /*cancel=*/false);
  co_return reply;
}

bool BackendLink::send(const comm::ClientMessage& message) {
  zmq::message_t frame = counted_message(comm::encode(message), waiting_bytes_);
  const bool taken = socket_.send(frame, zmq::send_flags::dontwait).has_value();
  // The send may have eaten the event that receive() waits for.
  error_code ignored;  // there is nothing to cancel when it does not wait
  descriptor_.cancel(ignored);
  return taken;
}

void BackendLink::send_cancels() {
  while (!cancels_.empty() && send(comm::CancelRequest{cancels_.front()})) cancels_.pop_front();
}

bool BackendLink::drain() {
  for (int i = 0; i < kMaxMessagesPerRound; ++i) {
    zmq::message_t frame;
    if (!socket_.recv(frame, zmq::recv_flags::dontwait)) return true;
    last_heard_ = Clock::now();
    const std::span bytes(static_cast<const std::byte*>(frame.data()), frame.size());
    if (Result<comm::ServerMessage> message = comm::decode_server_message(bytes)) {
      dispatch(std::move(*message));
    } else {
      spdlog::error("gateway: cannot read an answer of the backend: {}", message.fault().message);
      fail_unreadable(comm::readable_id(bytes));
    }
  }
  return false;
}

// Without an id it may be anyone's, and whoever goes on waiting for it waits in vain.
void BackendLink::fail_unreadable(const std::string& id) {
  const Fault fault{"replica_failed", "the answer could not be read", ""};
  if (id.empty()) return fail_all(fault);
  dispatch(comm::ErrorReply{id, fault});
  forget(id, /*cancel=*/true);  // the backend does not know that it has ended
}

void BackendLink::dispatch(comm::ServerMessage message) {
  if (const auto* status = std::get_if<comm::StatusReply>(&message)) check_epoch(*status);
  const std::string& id = id_of(message);
  if (id.empty()) {
    spdlog::error("gateway: the backend could not read a message");
    return fail_all({"replica_failed", "the request could not be handed on", ""});
  }
  const auto found = handlers_.find(id);
  if (found != handlers_.end()) found->second(std::move(message));
}

void BackendLink::fail_all(const Fault& fault) {
  for (const auto& [id, handler] : handlers_) {
    handler(comm::ErrorReply{id, fault});
    cancels_.push_back(id);  // the backend, if it is there, does not know that it has ended
  }
}

void BackendLink::check_silence(Clock::time_point now) {
  if (now - last_heard_ < silence_limit_) return;
  fail_all({"replica_failed", "the replica does not answer; the request can be repeated", ""});
}

// A replica that was restarted knows nothing of the requests of its life before.
void BackendLink::check_epoch(const comm::StatusReply& reply) {
  if (epoch_ && *epoch_ != reply.epoch) {
    fail_all({"replica_failed", "the replica was restarted; the request can be repeated", ""});
  }
  epoch_ = reply.epoch;
}

}  // namespace lockstep::gateway

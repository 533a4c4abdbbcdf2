#include "comm/stage_link.h"

#include <cstring>
#include <optional>
#include <utility>

#include "base/error.h"
#include "comm/plan_codec.h"
#include "comm/plan_socket.h"

namespace lockstep::comm {
namespace {

using Clock = std::chrono::steady_clock;

std::string rank_name(const StagePeer& peer) { return "rank " + std::to_string(peer.rank); }

// A message is its number, eight bytes in the machine's order, and the activations.
constexpr std::size_t kNumberBytes = sizeof(std::uint64_t);

std::optional<Hello> read_hello(const zmq::message_t& message) {
  try {
    return decode_hello(bytes_of(message));
  } catch (const Error&) {
    return std::nullopt;  // a stranger
  }
}

}  // namespace

StageOutlet::StageOutlet(zmq::context_t& context, const PlanBusAddress& address, StagePeer next)
    : epoch_(address.epoch),
      token_(address.token),
      next_(next),
      socket_(open_plan_socket(context, zmq::socket_type::router, kMaxMessagesAhead)) {
  try {
    socket_.set(zmq::sockopt::router_mandatory, true);
    socket_.bind(address.endpoint);
    endpoint_ = socket_.get(zmq::sockopt::last_endpoint);
  } catch (const zmq::error_t& error) {
    throw Error("stage link: cannot bind to '" + address.endpoint + "': " + error.what());
  }
}

void StageOutlet::wait_for_inlet() {
  const auto end = Clock::now() + next_.deadline;
  while (identity_.empty()) {
    if (!wait_readable(socket_, end)) {
      throw Error("stage link: no hello from " + rank_name(next_) + " within " +
                  std::to_string(next_.deadline.count()) + " ms");
    }
    zmq::message_t identity, message;
    if (!socket_.recv(identity, zmq::recv_flags::dontwait)) continue;
    std::size_t frames = 1;
    for (; socket_.get(zmq::sockopt::rcvmore); ++frames) {
      if (!socket_.recv(message)) throw Error("stage link: a message lost its frames");
    }
    if (frames != 2) continue;
    const std::optional<Hello> hello = read_hello(message);
    if (hello && hello->epoch == epoch_ && hello->rank == next_.rank &&
        same_token(hello->token, token_)) {
      identity_ = identity.to_string();
    }
  }
}

void StageOutlet::send(std::span<const std::byte> activations) {
  ++sent_;
  zmq::message_t message(kNumberBytes + activations.size());
  auto* bytes = static_cast<std::byte*>(message.data());
  std::memcpy(bytes, &sent_, kNumberBytes);
  if (!activations.empty()) {
    std::memcpy(bytes + kNumberBytes, activations.data(), activations.size());
  }
  if (!take(std::move(message))) {
    throw Error("stage link: " + rank_name(next_) + " takes no activations " +
                std::to_string(sent_) + ": it is gone or has fallen far behind");
  }
}

void StageOutlet::send_underway() { take(zmq::message_t()); }

bool StageOutlet::take(zmq::message_t message) {
  try {
    return socket_.send(zmq::buffer(identity_),
                        zmq::send_flags::sndmore | zmq::send_flags::dontwait) &&
           socket_.send(message, zmq::send_flags::dontwait);
  } catch (const zmq::error_t& error) {
    if (error.num() != EHOSTUNREACH) throw;
    return false;
  }
}

StageInlet::StageInlet(zmq::context_t& context, const PlanBusAddress& address, int rank,
                       StagePeer previous, std::size_t max_bytes)
    : previous_(previous),
      socket_(open_plan_socket(context, zmq::socket_type::dealer, StageOutlet::kMaxMessagesAhead)) {
  try {
    socket_.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(kNumberBytes + max_bytes));
    socket_.connect(address.endpoint);
    socket_.send(zmq::buffer(encode(Hello{address.epoch, rank, address.token})));
  } catch (const zmq::error_t& error) {
    throw Error("stage link: cannot connect to '" + address.endpoint + "': " + error.what());
  }
}

void StageInlet::receive(std::span<std::byte> activations) {
  const auto began = Clock::now();
  const std::string what =
      "activations " + std::to_string(++received_) + " of " + rank_name(previous_);
  const zmq::message_t message = next_message(what);
  std::uint64_t number = 0;
  if (message.size() >= kNumberBytes) std::memcpy(&number, message.data(), kNumberBytes);
  if (message.size() != kNumberBytes + activations.size() || number != received_) {
    throw Error("stage link: " + what + " are due, " + std::to_string(activations.size()) +
                " bytes; a message of " + std::to_string(message.size()) + " bytes with number " +
                std::to_string(number) + " has come");
  }
  if (!activations.empty()) {
    std::memcpy(activations.data(), static_cast<const std::byte*>(message.data()) + kNumberBytes,
                activations.size());
  }
  time_spent_ += Clock::now() - began;
}

zmq::message_t StageInlet::next_message(const std::string& what) {
  zmq::message_t message;
  while (wait_readable(socket_, Clock::now() + previous_.deadline)) {
    if (!socket_.recv(message, zmq::recv_flags::dontwait)) continue;
    if (!message.empty()) return message;
    on_underway_();
  }
  throw Error("stage link: " + what + " did not come within " +
              std::to_string(previous_.deadline.count()) + " ms");
}

}  // namespace lockstep::comm

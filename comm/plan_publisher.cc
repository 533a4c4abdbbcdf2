#include <stdlib.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <system_error>

#include "base/error.h"
#include "comm/plan_bus.h"
#include "comm/plan_codec.h"
#include "comm/plan_socket.h"

namespace lockstep::comm {
namespace {

std::string describe(const std::string& name, std::uint64_t epoch, std::uint64_t number) {
  return name + " " + std::to_string(number) + " of epoch " + std::to_string(epoch);
}

}  // namespace

PrivateDirectory::PrivateDirectory() {
  std::error_code no_temporary_directory;
  path_ = std::filesystem::temp_directory_path(no_temporary_directory) / "lockstep-XXXXXX";
  if (no_temporary_directory || mkdtemp(path_.data()) == nullptr) {
    throw Error("cannot create the private directory '" + path_ + "': " + std::strerror(errno));
  }
}

PrivateDirectory::~PrivateDirectory() { remove(); }

void PrivateDirectory::remove() {
  std::error_code ignored;  // a leftover harms nobody
  std::filesystem::remove_all(path_, ignored);
}

PlanPublisher::PlanPublisher(zmq::context_t& context, const PlanBusAddress& address, int world_size)
    : epoch_(address.epoch),
      token_(address.token),
      socket_(open_plan_socket(context, zmq::socket_type::router, kMaxPlansAhead)),
      subscribers_(world_size) {
  try {
    socket_.set(zmq::sockopt::router_mandatory, true);
    socket_.bind(address.endpoint);
    endpoint_ = socket_.get(zmq::sockopt::last_endpoint);
    socket_.bind(kOwnEndpoint);
  } catch (const zmq::error_t& error) {
    throw Error("plan bus: cannot bind to '" + address.endpoint + "': " + error.what());
  }
}

void PlanPublisher::wait_for_subscribers(std::chrono::milliseconds deadline) {
  const auto end = std::chrono::steady_clock::now() + deadline;
  while (rank_of_identity_.size() < subscribers_.size()) {
    if (!wait_readable(socket_, end)) {
      throw Error("plan bus: no hello from rank " + missing_ranks() + " within " +
                  std::to_string(deadline.count()) + " ms");
    }
    take_message();
  }
}

void PlanPublisher::publish(const StepPlan& plan) {
  if (plan.epoch != epoch_ || plan.sequence_number != last_plan_ + 1) {
    throw Error("plan bus: " + describe("plan", plan.epoch, plan.sequence_number) +
                " is not the next one, which is " + describe("plan", epoch_, last_plan_ + 1));
  }
  const std::string bytes = encode(plan);
  if (bytes.size() > kMaxPlanBytes) {
    throw Error("plan bus: " + describe("plan", epoch_, plan.sequence_number) + " has " +
                std::to_string(bytes.size()) + " bytes, the limit is " +
                std::to_string(kMaxPlanBytes));
  }
  for (std::size_t rank = 0; rank < subscribers_.size(); ++rank) {
    send(rank, bytes, describe("plan", epoch_, plan.sequence_number));
  }
  last_plan_ = plan.sequence_number;
}

// Only to those who wait: the queue of one that is at work for long would fill.
void PlanPublisher::reassure() {
  for (std::size_t rank = 0; rank < subscribers_.size(); ++rank) {
    if (subscribers_[rank].last_report == last_plan_) send(rank, "", "word of the coordinator");
  }
}

void PlanPublisher::send(std::size_t rank, const std::string& bytes, const std::string& what) {
  const std::string& identity = subscribers_[rank].identity;
  bool taken = false;
  try {
    taken =
        !identity.empty() &&
        socket_.send(zmq::buffer(identity), zmq::send_flags::sndmore | zmq::send_flags::dontwait) &&
        socket_.send(zmq::buffer(bytes), zmq::send_flags::dontwait);
  } catch (const zmq::error_t& error) {
    if (error.num() != EHOSTUNREACH) throw;
  }
  if (taken) return;
  throw Error("plan bus: rank " + std::to_string(rank) + " takes no " + what +
              ": it is gone or has fallen far behind; its last report was " +
              std::to_string(subscribers_[rank].last_report));
}

std::optional<StepReport> PlanPublisher::receive_report(std::chrono::milliseconds timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  while (wait_readable(socket_, deadline)) {
    if (std::optional<StepReport> report = take_message()) return report;
  }
  return std::nullopt;
}

std::optional<StepReport> PlanPublisher::take_message() {
  zmq::message_t identity_frame, message;
  if (!socket_.recv(identity_frame, zmq::recv_flags::dontwait)) return std::nullopt;
  std::size_t frames = 1;
  for (; socket_.get(zmq::sockopt::rcvmore); ++frames) {
    if (!socket_.recv(message)) throw Error("plan bus: a message lost its frames");
  }
  const std::string identity = identity_frame.to_string();
  const auto known = rank_of_identity_.find(identity);
  if (known != rank_of_identity_.end()) return check_report(known->second, message);
  if (frames == 2) accept_hello(identity, message);
  return std::nullopt;
}

void PlanPublisher::accept_hello(const std::string& identity, const zmq::message_t& message) {
  Hello hello;
  try {
    hello = decode_hello(bytes_of(message));
  } catch (const Error&) {
    return;  // a stranger; who belongs here and is wrong is named by its absence
  }
  if (hello.epoch != epoch_ || !same_token(hello.token, token_)) return;
  if (hello.rank < 0 || hello.rank >= static_cast<int>(subscribers_.size())) return;
  Subscriber& subscriber = subscribers_[hello.rank];
  if (!subscriber.identity.empty()) return;
  subscriber.identity = identity;
  rank_of_identity_[identity] = hello.rank;
}

StepReport PlanPublisher::check_report(int rank, const zmq::message_t& message) {
  StepReport report = decode_step_report(bytes_of(message));
  const std::uint64_t expected = subscribers_[rank].last_report + 1;
  if (report.epoch != epoch_ || report.rank != rank || report.sequence_number != expected) {
    throw Error("plan bus: rank " + std::to_string(rank) + " sent " +
                describe("report", report.epoch, report.sequence_number) + " of rank " +
                std::to_string(report.rank) + " where " + describe("report", epoch_, expected) +
                " is next");
  }
  if (expected > last_plan_) {
    throw Error("plan bus: rank " + std::to_string(rank) + " sent " +
                describe("report", epoch_, expected) + ", whose plan was never published");
  }
  if (!report.underway) subscribers_[rank].last_report = expected;
  return report;
}

std::string PlanPublisher::missing_ranks() const {
  std::string text;
  for (std::size_t rank = 0; rank < subscribers_.size(); ++rank) {
    if (!subscribers_[rank].identity.empty()) continue;
    if (!text.empty()) text += ", ";
    text += std::to_string(rank);
  }
  return text;
}

}  // namespace lockstep::comm

#include <optional>
#include <utility>

#include "base/error.h"
#include "comm/plan_bus.h"
#include "comm/plan_codec.h"
#include "comm/plan_socket.h"

namespace lockstep::comm {

PlanSubscriber::PlanSubscriber(zmq::context_t& context, const PlanBusAddress& address, int rank)
    : epoch_(address.epoch),
      rank_(rank),
      socket_(open_plan_socket(context, zmq::socket_type::dealer, PlanPublisher::kMaxPlansAhead)) {
  try {
    socket_.connect(address.endpoint);
    socket_.send(zmq::buffer(encode(Hello{address.epoch, rank, address.token})));
  } catch (const zmq::error_t& error) {
    throw Error("plan bus: cannot connect to '" + address.endpoint + "': " + error.what());
  }
}

StepPlan PlanSubscriber::receive(std::chrono::milliseconds deadline) {
  while (wait_readable(socket_, std::chrono::steady_clock::now() + deadline)) {
    if (std::optional<StepPlan> plan = poll()) return std::move(*plan);
  }
  throw Error("plan bus: no plan within " + std::to_string(deadline.count()) +
              " ms; the last one was " + std::to_string(last_plan_) + " of epoch " +
              std::to_string(epoch_));
}

std::optional<StepPlan> PlanSubscriber::poll() {
  zmq::message_t message;
  do {
    if (!socket_.recv(message, zmq::recv_flags::dontwait)) return std::nullopt;
  } while (message.empty());  // the coordinator is there, no more
  StepPlan plan = decode_step_plan(bytes_of(message));
  if (plan.epoch != epoch_ || plan.sequence_number != last_plan_ + 1) {
    throw Error("plan bus: rank " + std::to_string(rank_) + " got plan " +
                std::to_string(plan.sequence_number) + " of epoch " + std::to_string(plan.epoch) +
                " where plan " + std::to_string(last_plan_ + 1) + " of epoch " +
                std::to_string(epoch_) + " is next");
  }
  last_plan_ = plan.sequence_number;
  return plan;
}

void PlanSubscriber::send(const StepReport& report) {
  if (report.epoch != epoch_ || report.rank != rank_) {
    throw Error("plan bus: rank " + std::to_string(rank_) + " of epoch " + std::to_string(epoch_) +
                " cannot send a report of rank " + std::to_string(report.rank) + " of epoch " +
                std::to_string(report.epoch));
  }
  if (!socket_.send(zmq::buffer(encode(report)), zmq::send_flags::dontwait)) {
    throw Error("plan bus: the coordinator takes no report " +
                std::to_string(report.sequence_number) + " of rank " + std::to_string(rank_));
  }
}

}  // namespace lockstep::comm

// Activations from one pipeline stage to the next, over ZeroMQ: its own threads move the bytes, so
// that a stage goes on with the next step while the last one's activations are still under way.
//
// One connection for every rank of a stage that has a successor: an outlet, bound, and the inlet of
// one rank of the next stage. As on the plan bus (comm/plan_bus.h) every loss is an error, and a
// peer is heard only after a hello with the replica's epoch and token. An empty message says that
// the stage before is at work on what comes next.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <utility>
#include <zmq.hpp>

#include "comm/plan_bus.h"

namespace lockstep::comm {

// Who is at the other end of a link.
struct StagePeer {
  int rank = 0;                        // of the replica; errors name it
  std::chrono::milliseconds deadline;  // for its hello, and for each message or sign
};

// Towards the next stage. Used by one thread.
class StageOutlet {
 public:
  // Binds to address.endpoint, whose port may be "*". Throws Error.
  StageOutlet(zmq::context_t& context, const PlanBusAddress& address, StagePeer next);

  // Where it is bound, the system's choice of port filled in.
  const std::string& endpoint() const { return endpoint_; }

  // Waits for the inlet's hello. Throws Error naming its rank.
  void wait_for_inlet();

  // Sends a copy of `activations`, without waiting. Throws Error when the next stage is gone, or
  // more than kMaxMessagesAhead behind.
  void send(std::span<const std::byte> activations);

  // Tells the next stage, which may wait for activations, that they are still to come. A sign that
  // it does not take is lost, and does no harm.
  void send_underway();

  // Most of them are signs, where the steps of both stages last many deadlines.
  static constexpr int kMaxMessagesAhead = 1024;

 private:
  // False: the next stage is gone, or its queue is full.
  bool take(zmq::message_t message);

  const std::uint64_t epoch_;
  const std::string token_;
  const StagePeer next_;
  zmq::socket_t socket_;
  std::string endpoint_;
  std::string identity_;  // ZeroMQ's name of the inlet; empty: it has not come yet
  std::uint64_t sent_ = 0;
};

// From the stage before. Used by one thread.
class StageInlet {
 public:
  // Connects and says hello as `rank`; the outlet may bind later. `max_bytes` bounds a message.
  // Throws Error.
  StageInlet(zmq::context_t& context, const PlanBusAddress& address, int rank, StagePeer previous,
             std::size_t max_bytes);

  // Fills `activations` with the next message. Throws Error naming the rank of the stage before
  // when neither it nor a sign of work on it comes in time, when one is missing before it, and when
  // its size is another.
  void receive(std::span<std::byte> activations);

  // From now on receive() calls `hear` at every sign of the stage before.
  void on_underway(std::function<void()> hear) { on_underway_ = std::move(hear); }

  // Time spent in receive() so far.
  std::chrono::nanoseconds time_spent() const { return time_spent_; }

 private:
  zmq::message_t next_message(const std::string& what);

  const StagePeer previous_;
  zmq::socket_t socket_;
  std::function<void()> on_underway_ = [] {};
  std::uint64_t received_ = 0;
  std::chrono::nanoseconds time_spent_{0};
};

}  // namespace lockstep::comm

// How plans reach the shards and reports come back: ZeroMQ, one ROUTER at the coordinator, one
// DEALER per shard, one frame a message (comm/plan_codec.h).
//
// Not PUB and SUB: at its high-water mark PUB drops messages and neither side can tell. Here
// every loss is an error: a peer that is gone or takes no more (ZMQ_ROUTER_MANDATORY), a gap in the
// sequence numbers, another epoch. A peer is heard only after a hello with the replica's epoch and
// a token that the launcher has given to its ranks alone. An empty frame tells a shard that the
// coordinator is there and has no plan for it yet.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>
#include <zmq.hpp>

#include "comm/message.h"

namespace lockstep::comm {

// What both ends must agree on; the launcher broadcasts it.
struct PlanBusAddress {
  std::string endpoint;     // "ipc://...", "tcp://host:port"
  std::uint64_t epoch = 0;  // the life of the replica
  std::string token;        // random_token()
};

// A directory that only this user can enter, for ipc:// endpoints. It goes with the object, or
// earlier by remove(): connections live on without it, so that a coordinator which removes it once
// wait_for_subscribers has returned leaves nothing behind however it ends.
class PrivateDirectory {
 public:
  PrivateDirectory();  // below $TMPDIR or /tmp; throws Error
  ~PrivateDirectory();
  PrivateDirectory(const PrivateDirectory&) = delete;
  PrivateDirectory& operator=(const PrivateDirectory&) = delete;

  const std::string& path() const { return path_; }
  std::string endpoint() const { return "ipc://" + path_ + "/plans"; }
  void remove();  // may be called again

 private:
  std::string path_;
};

// The coordinator's end. Used by one thread.
class PlanPublisher {
 public:
  // Binds to `address`, whose port may be "*". Throws Error.
  PlanPublisher(zmq::context_t& context, const PlanBusAddress& address, int world_size);

  // Where it is bound, the system's choice of port filled in.
  const std::string& endpoint() const { return endpoint_; }

  // Where it is bound for the subscriber of its own process and context: without a thread between
  // them.
  static constexpr const char* kOwnEndpoint = "inproc://plans";

  // Waits for the hello of every rank. A hello with another epoch or token, from a rank that does
  // not exist or has come already is ignored. Throws Error naming the ranks that did not come.
  void wait_for_subscribers(std::chrono::milliseconds deadline);

  // Sends the plan to every rank, without waiting. Throws Error when its epoch is another or its
  // number not the next one, and when a rank is gone or more than kMaxPlansAhead behind.
  void publish(const StepPlan& plan);

  // Tells the ranks that have reported every plan to wait on: others are still at work. Throws
  // Error when one of them is gone.
  void reassure();

  // The next report, or none within `timeout` (0: only what is there). Reports of one rank come in
  // order and without gaps, each after any number that say `underway`; ranks interleave. Throws
  // Error naming the rank when one does not.
  std::optional<StepReport> receive_report(std::chrono::milliseconds timeout);

  // For zmq_poll: readable when receive_report(0) may have something.
  zmq::socket_ref socket() { return socket_; }

  static constexpr int kMaxPlansAhead = 256;

 private:
  struct Subscriber {
    std::string identity;  // ZeroMQ's name of the connection; empty: not come yet
    std::uint64_t last_report = 0;
  };

  // Throws Error when the rank does not take it; `what` names it.
  void send(std::size_t rank, const std::string& bytes, const std::string& what);
  // Takes one message off the socket, and returns it if it is a report.
  std::optional<StepReport> take_message();
  void accept_hello(const std::string& identity, const zmq::message_t& message);
  StepReport check_report(int rank, const zmq::message_t& message);
  std::string missing_ranks() const;

  const std::uint64_t epoch_;
  const std::string token_;
  std::string endpoint_;
  zmq::socket_t socket_;
  std::vector<Subscriber> subscribers_;          // by rank
  std::map<std::string, int> rank_of_identity_;  // of those who have said hello
  std::uint64_t last_plan_ = 0;
};

// A shard's end. Used by one thread.
class PlanSubscriber {
 public:
  // Connects and says hello; a publisher in another process may bind later. Throws Error.
  PlanSubscriber(zmq::context_t& context, const PlanBusAddress& address, int rank);

  // The next plan. Throws Error when neither it nor a word of the coordinator that it is there
  // (PlanPublisher::reassure) comes for `deadline`, when its epoch is another, and when plans are
  // missing before it.
  StepPlan receive(std::chrono::milliseconds deadline);
  // The same if it is there; never waits.
  std::optional<StepPlan> poll();

  // Throws Error when the report's epoch or rank is another, and when the coordinator takes no
  // more reports.
  void send(const StepReport& report);

  // For zmq_poll.
  zmq::socket_ref socket() { return socket_; }

 private:
  const std::uint64_t epoch_;
  const int rank_;
  zmq::socket_t socket_;
  std::uint64_t last_plan_ = 0;
};

}  // namespace lockstep::comm

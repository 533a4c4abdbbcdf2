// The shards behind ZeroMQ: ShardLink's real body.
#pragma once

#include "comm/plan_bus.h"
#include "coordinator/shard_link.h"

namespace lockstep::coordinator {

class PlanBusLink final : public ShardLink {
 public:
  // The publisher must outlive the link, and have all its subscribers.
  explicit PlanBusLink(comm::PlanPublisher& publisher) : publisher_(publisher) {}

  void publish(const comm::StepPlan& plan) override { publisher_.publish(plan); }
  std::optional<comm::StepReport> receive() override {
    return publisher_.receive_report(std::chrono::milliseconds(0));
  }
  zmq::socket_ref pollable() override { return publisher_.socket(); }

 private:
  comm::PlanPublisher& publisher_;
};

}  // namespace lockstep::coordinator

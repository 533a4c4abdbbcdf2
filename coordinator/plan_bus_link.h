// The shards at the other end of the plan bus.
#pragma once

#include "comm/plan_bus.h"
#include "coordinator/shard_link.h"

namespace lockstep::coordinator {

class PlanBusLink : public ShardLink {
 public:
  // `publisher` must outlive this, and every rank has said hello to it.
  explicit PlanBusLink(comm::PlanPublisher& publisher) : publisher_(publisher) {}

  void publish(const comm::StepPlan& plan) override { publisher_.publish(plan); }
  void reassure() override { publisher_.reassure(); }
  std::optional<comm::StepReport> receive() override {
    return publisher_.receive_report(std::chrono::milliseconds(0));
  }
  zmq::socket_ref pollable() override { return publisher_.socket(); }

 private:
  comm::PlanPublisher& publisher_;
};

}  // namespace lockstep::coordinator

// Shards inside the engine's own thread: publish() executes the plan, and every rank's report waits
// to be received. A test can make a rank lie or fall silent.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <zmq.hpp>

#include "coordinator/shard_link.h"
#include "tests/coordinator/fake_shard.h"

namespace lockstep::coordinator::testing {

class FakeShardLink : public ShardLink {
 public:
  FakeShardLink(zmq::context_t& context, std::unique_ptr<FakeShard> shard, std::int32_t world_size)
      : shard_(std::move(shard)),
        world_size_(world_size),
        signal_(context, zmq::socket_type::pair),
        wait_(context, zmq::socket_type::pair) {
    const std::string endpoint =
        "inproc://fake-shard-" + std::to_string(reinterpret_cast<std::uintptr_t>(this));
    wait_.bind(endpoint);
    signal_.connect(endpoint);
  }

  // Changes a report before it is sent, or drops it by returning false. Set before the engine runs.
  std::function<bool(comm::StepReport&)> tamper = [](comm::StepReport&) { return true; };

  void publish(const comm::StepPlan& plan) override {
    if (gone) throw Error("rank 1 takes no plan");
    if (plan.shutdown) {
      shut_down = true;
      return;
    }
    ++num_plans;
    if (plan.entries.empty()) ++num_heartbeats;
    comm::StepReport report = shard_->execute(plan);
    for (std::int32_t rank = world_size_; rank-- > 0;) {
      comm::StepReport copy = report;
      copy.rank = rank;
      copy.compute_us = 1000;
      copy.wait_us = 500000;
      if (rank != 0) copy.sampled.clear();
      if (!tamper(copy)) continue;
      reports_.push_back(std::move(copy));
      signal_.send(zmq::message_t(), zmq::send_flags::none);
    }
  }

  void reassure() override { ++num_reassurances; }

  std::optional<comm::StepReport> receive() override {
    zmq::message_t token;
    if (silent || !wait_.recv(token, zmq::recv_flags::dontwait)) return std::nullopt;
    comm::StepReport report = std::move(reports_.front());
    reports_.pop_front();
    return report;
  }

  zmq::socket_ref pollable() override { return wait_; }

  std::atomic<bool> silent = false;  // keeps back all reports for now
  std::atomic<bool> gone = false;    // takes no more plans
  std::atomic<int> num_plans = 0;
  std::atomic<int> num_heartbeats = 0;
  std::atomic<int> num_reassurances = 0;
  std::atomic<bool> shut_down = false;

 private:
  std::unique_ptr<FakeShard> shard_;
  std::int32_t world_size_;
  zmq::socket_t signal_, wait_;
  std::deque<comm::StepReport> reports_;
};

}  // namespace lockstep::coordinator::testing

// Rank 0's second half: the coordinator and the HTTP gateway beside the shard.
#pragma once

#include <chrono>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <thread>

#include "base/trace.h"
#include "comm/plan_bus.h"
#include "launch/model_text.h"
#include "launch/replica_sizes.h"
#include "launch/serve_options.h"
#include "model/model.h"

namespace lockstep::launch {

// Serves clients on threads of its own, from construction to destruction.
class Front {
 public:
  // `text`, of the model, outlives this. `labels`: of lockstep_replica_info. `bus` has been bound;
  // `tracer` may be nullptr: no timeline. `on_failure` is called from a thread when the coordinator
  // or the gateway fails, with what happened.
  Front(const ServeOptions& options, const ReplicaSizes& sizes, const model::Model& model,
        const ModelText& text, std::string system_fingerprint,
        std::map<std::string, std::string> labels, int world_size, zmq::context_t& context,
        comm::PlanPublisher& bus, std::uint64_t epoch, Tracer* tracer,
        std::function<void(const std::string&)> on_failure);
  ~Front();

  // Where clients connect; "" where there is no HTTP.
  std::string zmq_endpoint() const;
  std::string http_address() const;

  // Asks the coordinator to tell its clients and to publish the last plan. Returns at once.
  void request_stop();

  // This rank has failed: ends all open requests as "replica_failed", and the coordinator.
  // REQUIRES: it is called once.
  void fail();

  // The same, without waiting for the coordinator: what it says last has gone to clients that read
  // in kLastWords.
  void request_failure();
  static constexpr std::chrono::milliseconds kLastWords{200};

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace lockstep::launch

// A rank's loop: plans in, reports out.
#pragma once

#include <chrono>
#include <functional>
#include <optional>

#include "base/trace.h"
#include "comm/activity.h"
#include "comm/plan_bus.h"
#include "shard/worker.h"

namespace lockstep::launch {

// Reports are sent in the order of plans, each as soon as its step is done. A plan that comes while
// a step is under way is started at once where the worker can (Worker::can_start): a device then
// finds its next step in line.
class StepLoop {
 public:
  // All must outlive it; `tracer` may be nullptr. `deadline`: how long neither a plan nor word of
  // the coordinator may come.
  // `step_done` is called after every report of a step that has computed something.
  StepLoop(shard::Worker& worker, comm::PlanSubscriber& plans, comm::Activity& activity,
           std::chrono::milliseconds deadline, Tracer* tracer, std::function<void()> step_done)
      : worker_(worker),
        plans_(plans),
        activity_(activity),
        deadline_(deadline),
        tracer_(tracer),
        step_done_(std::move(step_done)) {}

  // Until the report of the last plan is sent. Throws Error as PlanSubscriber and Worker do.
  void run();

  // Tells the coordinator and the watchdog that the oldest step goes on. From within a step.
  void tell_progress();

 private:
  comm::StepPlan next_plan();
  void start(comm::StepPlan plan);
  void finish();
  // A plan that comes before the oldest step is done.
  std::optional<comm::StepPlan> plan_meanwhile();
  TraceSpan waiting(const char* what) const {
    return TraceSpan(tracer_, {"shard", "waiting", what});
  }

  shard::Worker& worker_;
  comm::PlanSubscriber& plans_;
  comm::Activity& activity_;
  const std::chrono::milliseconds deadline_;
  Tracer* const tracer_;
  const std::function<void()> step_done_;
  bool last_ = false;  // no plan comes any more
};

}  // namespace lockstep::launch

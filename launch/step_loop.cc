#include "launch/step_loop.h"

#include <sched.h>

#include <utility>

namespace lockstep::launch {

void StepLoop::run() {
  while (true) {
    if (worker_.num_started() == 0) {
      if (last_) return;
      start(next_plan());
    } else if (std::optional<comm::StepPlan> plan = plan_meanwhile()) {
      start(std::move(*plan));
    } else {
      finish();
    }
  }
}

comm::StepPlan StepLoop::next_plan() {
  const TraceSpan span = waiting("wait for the plan");
  return plans_.receive(deadline_);
}

void StepLoop::start(comm::StepPlan plan) {
  const comm::Activity::Scope scope(activity_, "step", plan.sequence_number);
  last_ = plan.shutdown;
  worker_.start(std::move(plan));
}

void StepLoop::finish() {
  const comm::StepPlan& plan = worker_.oldest();
  const comm::Activity::Scope scope(activity_, "step", plan.sequence_number);
  const bool computed = !plan.entries.empty();
  plans_.send(worker_.finish());
  if (computed) step_done_();
}

void StepLoop::tell_progress() {
  activity_.renew();
  plans_.send(worker_.underway());
}

// Polls both, for a device and a socket have nothing to be waited for together. Not for long: only
// Worker::finish() notices that a rank is missing, and is to say so before the coordinator does.
std::optional<comm::StepPlan> StepLoop::plan_meanwhile() {
  if (last_ || !worker_.can_start()) return std::nullopt;
  const TraceSpan span = waiting("wait for a plan or the step");
  const auto end = std::chrono::steady_clock::now() + deadline_ / 8;
  while (!worker_.done() && std::chrono::steady_clock::now() < end) {
    if (auto plan = plans_.poll()) return plan;
    sched_yield();
  }
  return std::nullopt;
}

}  // namespace lockstep::launch

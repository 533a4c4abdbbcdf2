#include "shard/gpu/step_runner.h"

#include <algorithm>

namespace lockstep::shard {

bool GpuStepRunner::can_begin() const {
  if (begun_.empty()) return true;
  return begun_.size() == 1 && !(begun_.back().chooses && choice_.needs_host());
}

void GpuStepRunner::begin(std::span<const ForwardSequence> batch,
                          std::span<const SamplingInput> inputs) {
  const auto now = Tracer::Clock::now();
  const bool chooses = model_.has_head() && !inputs.empty();  // else a later stage does
  model_.begin(batch);
  if (chooses) choice_.begin(inputs);
  model_.launch(chooses ? choice_.tail() : GpuStepTail{});
  if (chooses) choice_.download();
  begun_.push_back({chooses, now});
}

bool GpuStepRunner::done() { return !begun_.front().chooses || choice_.done(); }

StepResult GpuStepRunner::finish() {
  const Begun step = begun_.front();
  begun_.pop_front();
  if (step.chooses) choice_.wait();
  times_.add(Part::product, "step on the GPU", std::max(step.at, last_end_));
  last_end_ = Tracer::Clock::now();
  if (!step.chooses) return {};
  const StepTimes::Phase phase(times_, Part::sampling, "sampling");
  return choice_.finish();
}

}  // namespace lockstep::shard

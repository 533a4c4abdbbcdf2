#include "shard/gpu/step_runner.h"

namespace lockstep::shard {

std::vector<comm::SampledToken> GpuStepRunner::run(std::span<const ForwardSequence> batch,
                                                   std::span<const SamplingInput> inputs) {
  if (!model_.has_head()) inputs = {};  // a later stage chooses
  {
    const StepTimes::Phase phase(times_, Part::product, "step on the GPU");
    model_.begin(batch);
    if (!inputs.empty()) choice_.lay_out(inputs);
    const GpuLogits logits = model_.launch();
    if (inputs.empty()) return {};
    choice_.launch(logits);
    model_.wait("a step");
  }
  const StepTimes::Phase phase(times_, Part::sampling, "sampling");
  return choice_.finish(inputs);
}

}  // namespace lockstep::shard

// What a worker computes a step with: the forward pass, and the choice of tokens.
#pragma once

#include <span>
#include <vector>

#include "comm/message.h"
#include "shard/model_runner.h"
#include "shard/sampler.h"
#include "shard/step_times.h"

namespace lockstep::shard {

class StepRunner {
 public:
  virtual ~StepRunner() = default;

  // Runs the batch, and chooses a token for every sequence that wants logits: `inputs` are theirs,
  // in their order, and so is what is returned. A collective call: all ranks pass the same.
  virtual std::vector<comm::SampledToken> run(std::span<const ForwardSequence> batch,
                                              std::span<const SamplingInput> inputs) = 0;
};

// Logits come to the host, which chooses among them.
class HostStepRunner final : public StepRunner {
 public:
  // All must outlive it. `samples`: whether this stage of a pipeline chooses tokens; else run()
  // returns none.
  HostStepRunner(ModelRunner& model, Sampler& sampler, StepTimes& times, bool samples)
      : model_(model), sampler_(sampler), times_(times), samples_(samples) {}

  std::vector<comm::SampledToken> run(std::span<const ForwardSequence> batch,
                                      std::span<const SamplingInput> inputs) override {
    const std::span<float> logits = model_.forward(batch);
    if (inputs.empty() || !samples_) return {};
    const StepTimes::Phase phase(times_, Part::sampling, "sampling");
    return sampler_.sample(logits, inputs);
  }

 private:
  ModelRunner& model_;
  Sampler& sampler_;
  StepTimes& times_;
  const bool samples_;
};

}  // namespace lockstep::shard

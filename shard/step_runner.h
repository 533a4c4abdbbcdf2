// What a worker computes a step with: the forward pass, and the choice of tokens.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "comm/message.h"
#include "shard/model_runner.h"
#include "shard/sampler.h"
#include "shard/step_times.h"

namespace lockstep::shard {

struct StepResult {
  std::vector<comm::SampledToken> sampled;  // in the order of the step's inputs
  std::uint32_t rows_on_host = 0;           // of them, those that a GPU has left to its host
};

// Steps are finished in the order in which they are begun.
class StepRunner {
 public:
  virtual ~StepRunner() = default;

  // Whether a step may be begun now: always where all are finished, and where tokens stay on a
  // device, beside one that is not.
  virtual bool can_begin() const = 0;

  // Begins a step: runs the batch, and chooses a token for every sequence that wants logits:
  // `inputs` are theirs, in their order. Both may refer to rows of the step begun before, finished
  // or not. A collective call: all ranks pass the same. REQUIRES: can_begin().
  virtual void begin(std::span<const ForwardSequence> batch,
                     std::span<const SamplingInput> inputs) = 0;

  // Of the oldest step that is begun: whether finish() would not wait. REQUIRES: there is one.
  virtual bool done() = 0;
  // What it has chosen. A collective call where something is chosen on a GPU's host. REQUIRES:
  // there is one; what `inputs` points to is there still, if can_begin() was false since then.
  virtual StepResult finish() = 0;

  // One step, begun and finished.
  StepResult run(std::span<const ForwardSequence> batch, std::span<const SamplingInput> inputs) {
    begin(batch, inputs);
    return finish();
  }
};

// Logits come to the host, which chooses among them.
class HostStepRunner final : public StepRunner {
 public:
  // All must outlive it. `samples`: whether this stage of a pipeline chooses tokens; else steps
  // give none.
  HostStepRunner(ModelRunner& model, Sampler& sampler, StepTimes& times, bool samples)
      : model_(model), sampler_(sampler), times_(times), samples_(samples) {}

  bool can_begin() const override { return !result_; }

  void begin(std::span<const ForwardSequence> batch,
             std::span<const SamplingInput> inputs) override {
    const std::span<float> logits = model_.forward(batch);
    result_.emplace();
    if (inputs.empty() || !samples_) return;
    const StepTimes::Phase phase(times_, Part::sampling, "sampling");
    result_->sampled = sampler_.sample(logits, inputs);
  }

  bool done() override { return true; }
  StepResult finish() override { return *std::exchange(result_, std::nullopt); }

 private:
  ModelRunner& model_;
  Sampler& sampler_;
  StepTimes& times_;
  const bool samples_;
  std::optional<StepResult> result_;  // of the step that is not finished
};

}  // namespace lockstep::shard

// Steps on the GPU: one upload, the forward pass, the choice of tokens, one way to the host.
#pragma once

#include <deque>
#include <span>

#include "shard/gpu/llama.h"
#include "shard/gpu/token_choice.h"
#include "shard/step_runner.h"
#include "shard/step_times.h"

namespace lockstep::shard {

// A step is put in line while the one before it is under way, whose tokens stay on the device; they
// come to the host meanwhile.
//
// Where the time goes is seen from the host alone: from its beginning, or the end of the one
// before, a step is a product's until its tokens are there; the choice of tokens on the host is
// sampling.
class GpuStepRunner final : public StepRunner {
 public:
  // All must outlive it.
  GpuStepRunner(GpuLlamaRunner& model, GpuTokenChoice& choice, StepTimes& times)
      : model_(model), choice_(choice), times_(times) {
    model.tell_progress([&times] { times.made_progress(Tracer::Clock::now()); });
  }

  bool can_begin() const override;
  void begin(std::span<const ForwardSequence> batch,
             std::span<const SamplingInput> inputs) override;
  bool done() override;
  // Waits for nothing where no token is chosen.
  StepResult finish() override;

 private:
  GpuLlamaRunner& model_;
  GpuTokenChoice& choice_;
  StepTimes& times_;
  struct Begun {
    bool chooses;  // tokens
    Tracer::Clock::time_point at;
  };
  std::deque<Begun> begun_;
  Tracer::Clock::time_point last_end_;  // of a step
};

}  // namespace lockstep::shard

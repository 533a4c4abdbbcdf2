// A step on the GPU: one upload, the forward pass, the choice of tokens, one wait.
#pragma once

#include <span>
#include <vector>

#include "shard/gpu/llama.h"
#include "shard/gpu/token_choice.h"
#include "shard/step_runner.h"
#include "shard/step_times.h"

namespace lockstep::shard {

// Where the time goes is seen from the host alone: all that is waited for is a product's, but the
// choice of tokens on the host.
class GpuStepRunner final : public StepRunner {
 public:
  // All must outlive it.
  GpuStepRunner(GpuLlamaRunner& model, GpuTokenChoice& choice, StepTimes& times)
      : model_(model), choice_(choice), times_(times) {}

  // Waits for nothing where no token is to be chosen: the step after it is put in line meanwhile.
  std::vector<comm::SampledToken> run(std::span<const ForwardSequence> batch,
                                      std::span<const SamplingInput> inputs) override;

 private:
  GpuLlamaRunner& model_;
  GpuTokenChoice& choice_;
  StepTimes& times_;
};

}  // namespace lockstep::shard

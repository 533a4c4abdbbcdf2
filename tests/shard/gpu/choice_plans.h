// A small model, and plans in which its tokens are chosen in every way.
#pragma once

#include <cstdint>
#include <map>
#include <vector>

#include "shard/sequence_mirror.h"
#include "tests/shard/random_llama.h"
#include "tests/shard/sampling_fixture.h"

namespace lockstep::shard {

inline constexpr MirrorLimits kChoiceLimits{.block_size = 16, .num_blocks = 24, .vocab_size = 107};

// All that a choice can be.
inline std::vector<comm::SamplingParams> kinds() {
  return {params_of({.logprobs = 20}),
          params_of({.temperature = 1.0f, .presence_penalty = 2.0f, .seed = 3}),
          params_of({.temperature = 0.8f, .top_k = 20, .seed = 4, .logprobs = 2}),
          params_of({.repetition_penalty = 1.5f,
                     .min_tokens = 2,
                     .stop_token_ids = {3, 4, 5},
                     .logit_bias = {{7, 2.0f}, {90, -50.0f}}}),
          params_of({.temperature = 1.5f, .top_p = 0.9f, .seed = 6}),
          params_of({.temperature = 1.2f,
                     .top_p = 0.7f,
                     .min_p = 0.02f,
                     .seed = 7,
                     .logprobs = 0,
                     .logit_bias = {{7, 3.0f}}})};
}

inline model::Model one_layer() {
  auto config = small_config();
  config.num_hidden_layers = 1;
  return make_model(config);
}

// The plans of a batch with one sequence of each kind: prompts in the first step, cut in two for
// the first sequence, then some tokens each. `turns`: sequences that take turns, of which every
// such one has a token in a step.
inline std::vector<comm::StepPlan> plans(int steps,
                                         const std::vector<comm::SamplingParams>& kinds = kinds(),
                                         int turns = 1) {
  std::vector<comm::StepPlan> all;
  std::map<std::uint64_t, std::int32_t> ends;
  std::int32_t next_block = 0;
  const auto compute = [&](comm::StepPlan& plan, std::uint64_t id, std::int32_t count,
                           bool samples) {
    comm::PlanEntry entry;
    entry.sequence_id = id;
    entry.first_position = ends[id];
    entry.num_tokens = count;
    entry.samples = samples;
    if (ends[id] == 0) entry.new_blocks.push_back(next_block++);
    ends[id] += count;
    plan.entries.push_back(entry);
  };
  for (int step = 0; step <= steps; ++step) {
    comm::StepPlan& plan = all.emplace_back();
    plan.epoch = 6;
    plan.sequence_number = static_cast<std::uint64_t>(step) + 1;
    for (std::uint64_t id = 1; id <= kinds.size(); ++id) {
      if (step == 0) {
        comm::SequenceStart start;
        start.sequence_id = id;
        start.sampling = kinds[id - 1];
        start.token_ids = some_tokens(static_cast<int>(2 + id), static_cast<unsigned>(id));
        start.num_prompt_tokens = static_cast<std::int32_t>(start.token_ids.size());
        plan.starts.push_back(start);
        compute(plan, id, id == 1 ? 1 : start.num_prompt_tokens, id != 1);
      } else if (static_cast<int>(id) % turns == step % turns) {
        compute(plan, id, id == 1 && step == 1 ? 2 : 1, true);
      }
    }
  }
  return all;
}

}  // namespace lockstep::shard

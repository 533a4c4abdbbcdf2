#include "shard/worker.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>

#include "base/error.h"
#include "shard/step_digest.h"

namespace lockstep::shard {
namespace {

// Whole microseconds, at most what the report's field holds.
std::uint32_t microseconds(std::chrono::nanoseconds duration) {
  const auto count = std::chrono::duration_cast<std::chrono::microseconds>(duration).count();
  return static_cast<std::uint32_t>(
      std::clamp<std::int64_t>(count, 0, std::numeric_limits<std::uint32_t>::max()));
}

}  // namespace

Worker::Worker(ModelRunner& model, Sampler& sampler, comm::Communicator& communicator,
               MirrorLimits limits, StepTimes& times, Stage stage)
    : own_steps_(std::make_unique<HostStepRunner>(model, sampler, times, stage.last())),
      steps_(*own_steps_),
      communicator_(communicator),
      limits_(limits),
      times_(times),
      stage_(stage),
      mirror_(limits) {}

Worker::Worker(StepRunner& steps, comm::Communicator& communicator, MirrorLimits limits,
               StepTimes& times, Stage stage)
    : steps_(steps),
      communicator_(communicator),
      limits_(limits),
      times_(times),
      stage_(stage),
      mirror_(limits) {}

comm::StepReport Worker::execute(const comm::StepPlan& plan) {
  const auto began = Tracer::Clock::now();
  // Without a sequence that goes on, there was nothing to wait for but clients.
  const bool goes_on = plan.entries.size() > plan.starts.size();
  const TraceSpan span =
      times_.span(plan.entries.empty() ? "heartbeat" : "step", plan.sequence_number);
  times_.restart();
  const std::chrono::nanoseconds waited_before = times_.waited();

  check_order(plan);
  mirror_.apply(plan);
  std::vector<comm::SampledToken> sampled;
  if (!plan.entries.empty()) sampled = compute(plan.entries);
  if (stage_.count == 1) {
    for (const comm::SampledToken& token : sampled) {
      mirror_.append(token.sequence_id, token.token_id);
    }
  }
  digest_ = step_digest(digest_, plan, sampled);

  comm::StepReport report{.epoch = plan.epoch,
                          .sequence_number = plan.sequence_number,
                          .rank = stage_.index * communicator_.size() + communicator_.rank(),
                          .digest = digest_,
                          .compute_us = 0,
                          .wait_us = microseconds(times_.waited() - waited_before),
                          .product_us = microseconds(times_.spent(Part::product)),
                          .attention_us = microseconds(times_.spent(Part::attention)),
                          .all_reduce_us = microseconds(times_.spent(Part::all_reduce)),
                          .elementwise_us = microseconds(times_.spent(Part::elementwise)),
                          .sampling_us = microseconds(times_.spent(Part::sampling)),
                          .plan_wait_us = goes_on ? microseconds(began - last_end_) : 0,
                          .sampled = {}};
  if (communicator_.rank() == 0) report.sampled = std::move(sampled);
  last_end_ = Tracer::Clock::now();
  report.compute_us = microseconds(last_end_ - began);
  return report;
}

void Worker::check_order(const comm::StepPlan& plan) {
  if (plan.sequence_number != last_sequence_number_ + 1) {
    throw Error("plan: sequence_number " + std::to_string(plan.sequence_number) + " after " +
                std::to_string(last_sequence_number_));
  }
  if (last_sequence_number_ > 0 && plan.epoch != epoch_) {
    throw Error("plan " + std::to_string(plan.sequence_number) + ": epoch " +
                std::to_string(plan.epoch) + " in the life of epoch " + std::to_string(epoch_));
  }
  epoch_ = plan.epoch;
  last_sequence_number_ = plan.sequence_number;
}

std::vector<comm::SampledToken> Worker::compute(const std::vector<comm::PlanEntry>& entries) {
  std::vector<ForwardSequence> batch;
  std::vector<SamplingInput> inputs;
  for (const comm::PlanEntry& entry : entries) {
    batch.push_back(forward_sequence(entry));
    if (entry.samples) inputs.push_back(sampling_input(entry.sequence_id));
  }
  return steps_.run(batch, inputs);
}

ForwardSequence Worker::forward_sequence(const comm::PlanEntry& entry) const {
  const MirroredSequence& sequence = mirror_.sequence(entry.sequence_id);
  const auto first = static_cast<std::size_t>(entry.first_position);
  const auto count = static_cast<std::size_t>(entry.num_tokens);
  const auto block_size = static_cast<std::size_t>(limits_.block_size);
  const std::size_t num_blocks = (first + count + block_size - 1) / block_size;
  return {.token_ids = std::span(sequence.token_ids).subspan(first, count),
          .first_position = entry.first_position,
          .block_table = std::span(sequence.block_table).first(num_blocks),
          .wants_logits = entry.samples};
}

SamplingInput Worker::sampling_input(std::uint64_t sequence_id) const {
  const MirroredSequence& sequence = mirror_.sequence(sequence_id);
  const auto length = static_cast<std::int32_t>(sequence.token_ids.size());
  return {.sequence_id = sequence_id,
          .params = &sequence.sampling,
          .counts = has_penalty(sequence.sampling) ? &sequence.counts : nullptr,
          .num_answer_tokens = length - sequence.num_prompt_tokens,
          .position = length};
}

}  // namespace lockstep::shard

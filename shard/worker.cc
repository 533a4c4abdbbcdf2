#include "shard/worker.h"

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <iterator>
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

bool Worker::can_start() const {
  if (started_.empty()) return true;
  return started_.size() == 1 && stage_.count == 1 && steps_.can_begin();
}

void Worker::start(comm::StepPlan plan) {
  const auto now = Tracer::Clock::now();
  const TraceSpan span =
      times_.span(plan.entries.empty() ? "heartbeat" : "step", plan.sequence_number);
  if (started_.empty()) forget_times();
  check_order(plan);
  mirror_.apply(plan);
  Started& started = started_.emplace_back(Started{std::move(plan), now, {}});
  if (!started.plan.entries.empty()) begin(started);
}

bool Worker::done() const { return started_.front().plan.entries.empty() || steps_.done(); }

comm::StepReport Worker::finish() {
  StepResult result;
  if (!oldest().entries.empty()) result = steps_.finish();
  const Started started = std::move(started_.front());
  started_.pop_front();
  accept(started, result);
  digest_ = step_digest(digest_, started.plan, result.sampled);
  return report(started, std::move(result));
}

void Worker::forget_times() {
  times_.restart();
  waited_ = times_.waited();
}

comm::StepReport Worker::underway() const {
  comm::StepReport report = report_for(oldest());
  report.underway = true;
  return report;
}

comm::StepReport Worker::report_for(const comm::StepPlan& plan) const {
  comm::StepReport report;
  report.epoch = plan.epoch;
  report.sequence_number = plan.sequence_number;
  report.rank = stage_.index * communicator_.size() + communicator_.rank();
  return report;
}

// Parts and waiting are those since the last report: steps may lie one over the other.
comm::StepReport Worker::report(const Started& started, StepResult result) {
  const comm::StepPlan& plan = started.plan;
  // Without a sequence that goes on, there was nothing to wait for but clients.
  const bool goes_on = plan.entries.size() > plan.starts.size();
  comm::StepReport report = report_for(plan);
  report.digest = digest_;
  report.wait_us = microseconds(times_.waited() - waited_);
  report.product_us = microseconds(times_.spent(Part::product));
  report.attention_us = microseconds(times_.spent(Part::attention));
  report.all_reduce_us = microseconds(times_.spent(Part::all_reduce));
  report.elementwise_us = microseconds(times_.spent(Part::elementwise));
  report.sampling_us = microseconds(times_.spent(Part::sampling));
  report.plan_wait_us = goes_on ? microseconds(started.at - last_end_) : 0;
  report.rows_on_host = result.rows_on_host;
  for (const Drawing& drawing : started.drawings) {
    report.drafts += static_cast<std::uint32_t>(drawing.drafts.size());
  }
  if (!result.sampled.empty()) {
    report.accepted_drafts =
        static_cast<std::uint32_t>(result.sampled.size() - started.drawings.size());
  }
  if (communicator_.rank() == 0) report.sampled = std::move(result.sampled);
  forget_times();
  const auto begun = std::max(started.at, last_end_);
  last_end_ = Tracer::Clock::now();
  report.compute_us = microseconds(last_end_ - begun);
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

void Worker::begin(Started& started) {
  std::vector<ForwardSequence> batch;
  std::vector<SamplingInput> inputs;
  std::vector<std::size_t> rows;  // of the drawings: their first inputs
  const bool alone = started.plan.entries.size() == 1;
  for (const comm::PlanEntry& entry : started.plan.entries) {
    ForwardSequence& sequence = batch.emplace_back(forward_sequence(entry));
    if (!entry.samples) continue;
    Drawing& drawing = started.drawings.emplace_back();
    if (entry.max_drafts > 0) draft(entry, alone, sequence, drawing);
    rows.push_back(inputs.size());
    add_sampling_inputs(entry.sequence_id, drawing, inputs);
  }
  steps_.begin(batch, inputs);
  if (stage_.count > 1) return;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    started.drawings[i].place =
        mirror_.append_unknown(inputs[rows[i]].sequence_id, static_cast<std::int32_t>(rows[i]));
  }
}

std::span<const std::int32_t> Worker::blocks_up_to(std::size_t end,
                                                   const MirroredSequence& sequence) const {
  const auto block_size = static_cast<std::size_t>(limits_.block_size);
  return std::span(sequence.block_table).first((end + block_size - 1) / block_size);
}

ForwardSequence Worker::forward_sequence(const comm::PlanEntry& entry) const {
  const MirroredSequence& sequence = mirror_.sequence(entry.sequence_id);
  const auto count = static_cast<std::size_t>(entry.num_tokens);
  // The mirror has taken the entry as computed.
  const std::size_t first = static_cast<std::size_t>(sequence.num_computed) - count;
  return {.token_ids = std::span(sequence.token_ids).subspan(first, count),
          .first_position = static_cast<std::int32_t>(first),
          .block_table = blocks_up_to(first + count, sequence),
          .num_logits = entry.samples ? 1 : 0,
          .sampled_row = first + count == sequence.token_ids.size() ? sequence.sampled_row : -1};
}

// Puts guesses behind the entry's own tokens; a token is to be drawn in the place of each, and
// behind the last.
void Worker::draft(const comm::PlanEntry& entry, bool alone, ForwardSequence& sequence,
                   Drawing& drawing) {
  drawing.drafts = mirror_.draft(entry.sequence_id, entry.max_drafts, alone);
  if (drawing.drafts.empty()) return;
  drawing.tokens.assign(sequence.token_ids.begin(), sequence.token_ids.end());
  drawing.tokens.insert(drawing.tokens.end(), drawing.drafts.begin(), drawing.drafts.end());
  const MirroredSequence& mirrored = mirror_.sequence(entry.sequence_id);
  const std::size_t end = static_cast<std::size_t>(sequence.first_position) + drawing.tokens.size();
  sequence.token_ids = drawing.tokens;
  sequence.block_table = blocks_up_to(end, mirrored);
  sequence.num_logits += static_cast<std::int32_t>(drawing.drafts.size());
  if (!has_penalty(mirrored.sampling)) return;
  for (const std::int32_t token : drawing.drafts) {
    drawing.counts.push_back(drawing.counts.empty() ? mirrored.counts : drawing.counts.back());
    drawing.counts.back().add_answer_token(token);
  }
}

void Worker::add_sampling_inputs(std::uint64_t sequence_id, const Drawing& drawing,
                                 std::vector<SamplingInput>& inputs) const {
  const MirroredSequence& sequence = mirror_.sequence(sequence_id);
  const auto length = static_cast<std::int32_t>(sequence.token_ids.size());
  inputs.push_back({.sequence_id = sequence_id,
                    .params = &sequence.sampling,
                    .counts = has_penalty(sequence.sampling) ? &sequence.counts : nullptr,
                    .sampled_row = sequence.sampled_row,
                    .num_answer_tokens = length - sequence.num_prompt_tokens,
                    .position = length});
  for (std::size_t i = 0; i < drawing.drafts.size(); ++i) {
    SamplingInput next = inputs.back();
    next.counts = drawing.counts.empty() ? nullptr : &drawing.counts[i];
    ++next.num_answer_tokens;
    ++next.position;
    inputs.push_back(next);
  }
}

// Of the tokens that were drawn for a sequence, keeps those up to the first in whose place another
// was guessed: what is behind it was drawn after tokens that are not the sequence's.
void Worker::accept(const Started& started, StepResult& result) {
  if (result.sampled.empty()) return;  // another stage draws
  std::vector<comm::SampledToken> accepted;
  auto drawn = result.sampled.begin();
  for (const Drawing& drawing : started.drawings) {
    std::ptrdiff_t count = 1;
    for (const std::int32_t guess : drawing.drafts) {
      if (drawn[count - 1].token_id != guess) break;
      ++count;
    }
    if (stage_.count == 1) mirror_.learn(drawing.place, {drawn, drawn + count});
    accepted.insert(accepted.end(), std::make_move_iterator(drawn),
                    std::make_move_iterator(drawn + count));
    drawn += 1 + std::ssize(drawing.drafts);
  }
  result.sampled = std::move(accepted);
}

}  // namespace lockstep::shard

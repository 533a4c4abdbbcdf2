// One rank's execution of step plans.
#pragma once

#include <chrono>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "comm/communicator.h"
#include "comm/message.h"
#include "shard/model_runner.h"
#include "shard/sampler.h"
#include "shard/sequence_mirror.h"
#include "shard/step_runner.h"
#include "shard/step_times.h"

namespace lockstep::shard {

// A rank's place in the pipeline.
struct Stage {
  int index = 0;
  int count = 1;
  bool last() const { return index + 1 == count; }
};

// Applies plans to the mirror, runs the model, samples, and reports. All ranks execute the same
// plans in the same order; execution is a collective call.
class Worker {
 public:
  // All of them must outlive the worker. `communicator` joins the ranks of the stage: it is asked
  // for its rank; `times` is what the model runner fills. The sampler is used in the last stage.
  // Throws Error if `limits` are not positive.
  Worker(ModelRunner& model, Sampler& sampler, comm::Communicator& communicator,
         MirrorLimits limits, StepTimes& times, Stage stage = {});
  // The same, computed by `steps`, which must outlive the worker, too.
  Worker(StepRunner& steps, comm::Communicator& communicator, MirrorLimits limits, StepTimes& times,
         Stage stage = {});

  // Whether a plan may be started now: always where all are finished, and where the step runner
  // can, beside one that is not. In a pipeline stages wait for each other: one plan at a time.
  bool can_start() const;
  // Starts one plan: forgets its ends, learns its starts, begins to compute its entries. A plan
  // without entries touches neither model nor sampler. REQUIRES: can_start(). Throws Error, after
  // which the worker is of no use, if the plan is not the next one (another epoch than the first
  // plan's, a sequence_number other than 1, 2, 3, ...) or is malformed (SequenceMirror::apply), and
  // whatever the model and the sampler throw.
  void start(comm::StepPlan plan);

  // Plans that are started and not finished; the oldest of them; whether finish() would not wait.
  std::size_t num_started() const { return started_.size(); }
  const comm::StepPlan& oldest() const { return started_.front().plan; }
  bool done() const;
  // What tells the coordinator that this rank is at work on the oldest of them.
  comm::StepReport underway() const;
  // Ends the oldest plan: waits for its step and, where there is one stage, learns the tokens that
  // were drawn; in a pipeline plans bring them. Throws whatever the model and the sampler throw.
  comm::StepReport finish();

  // One plan, started and finished.
  comm::StepReport execute(const comm::StepPlan& plan) {
    start(plan);
    return finish();
  }

 private:
  // Of a sequence in a step that draws tokens for it.
  struct Drawing {
    std::vector<std::int32_t> drafts;         // the guesses that the step computes
    std::vector<std::int32_t> tokens;         // where there are any: the entry's own, then they
    std::vector<TokenCounts> counts;          // behind each of them, where penalties need it
    SequenceMirror::UnknownToken place = {};  // of what is drawn; unused in a pipeline
  };
  struct Started {
    comm::StepPlan plan;
    Tracer::Clock::time_point at;
    std::vector<Drawing> drawings;  // of the entries that sample, in order
  };
  void check_order(const comm::StepPlan& plan);
  void begin(Started& started);
  void forget_times();
  comm::StepReport report_for(const comm::StepPlan& plan) const;
  comm::StepReport report(const Started& started, StepResult result);
  std::span<const std::int32_t> blocks_up_to(std::size_t end,
                                             const MirroredSequence& sequence) const;
  ForwardSequence forward_sequence(const comm::PlanEntry& entry) const;
  void draft(const comm::PlanEntry& entry, bool alone, ForwardSequence& sequence, Drawing& drawing);
  void add_sampling_inputs(std::uint64_t sequence_id, const Drawing& drawing,
                           std::vector<SamplingInput>& inputs) const;
  void accept(const Started& started, StepResult& result);

  const std::unique_ptr<StepRunner> own_steps_;  // nullptr: it was given one
  StepRunner& steps_;
  comm::Communicator& communicator_;
  MirrorLimits limits_;
  StepTimes& times_;
  const Stage stage_;
  SequenceMirror mirror_;
  std::uint64_t epoch_ = 0;
  std::uint64_t last_sequence_number_ = 0;
  std::uint64_t digest_ = 0;
  std::deque<Started> started_;         // and not finished, the oldest first
  Tracer::Clock::time_point last_end_;  // of a step: from then on this rank waits
  std::chrono::nanoseconds waited_{};   // in collectives, up to the last report
};

}  // namespace lockstep::shard

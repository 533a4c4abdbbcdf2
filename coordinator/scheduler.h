// Requests to step plans: continuous batching with chunked prefill over a paged KV cache.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <unordered_map>
#include <vector>

#include "comm/message.h"
#include "coordinator/block_manager.h"
#include "coordinator/sequence.h"
#include "coordinator/stop_conditions.h"

namespace lockstep::coordinator {

struct SchedulerOptions {
  std::int32_t max_num_seqs = 64;             // sequences that run at the same time
  std::int32_t max_num_batched_tokens = 512;  // positions in one plan; at least max_num_seqs
  std::int32_t max_model_len = 2048;          // prompt and answer of one sequence
  std::int32_t block_size = 16;               // tokens in a KV block; a multiple of 16
  std::int32_t num_blocks = 1024;             // KV blocks of the whole cache
  // Of the shards' pipeline. With several, a plan holds a share of the sequences, so that every
  // stage works on another plan; and it tells the tokens that earlier plans have sampled.
  std::int32_t pipeline_stages = 1;
  // Speculative decoding: drafts in a step, all sequences together; 0: none; less than
  // max_num_batched_tokens. The sequences that decode share as many rows, and one more; where they
  // are more, or prompts are computed or may begin, no drafts are asked for.
  std::int32_t num_speculative_tokens = 0;
};

// One new token of one sequence, as the shards reported it.
struct ScheduledToken {
  comm::SampledToken token;
  std::optional<Finish> finish;  // set: the sequence has ended and is gone
};

// A pure function of its state: no clock, no socket, no thread.
//
// Plans may be made before the reports of earlier ones are in (asynchronous scheduling): a decode
// entry then stands for "the token that you sampled last", and where earlier plans draft, only
// their reports tell how many tokens they have brought. In a pipeline the first stage cannot know
// that token, so a sequence that samples waits for its report; chunks of its prompt do not. Reports
// are applied in plan order.
//
// Invariants:
//  1. Running and waiting sequences together are in order of arrival: every running sequence is
//     older than every waiting one. Admission never overtakes, preemption takes the youngest.
//  2. A block is given out again only in a plan whose `ends` (or an earlier plan's) name its former
//     owner. Shards run plans in order and `ends` first, so plans in flight that still write to
//     the block are over by then.
//  3. A sequence whose end is known in advance (max_tokens, context) costs no entry past its last
//     token; one that ends by a stop token costs at most one entry per further plan in flight,
//     whose result is ignored.
//  4. The oldest sequence is in every plan, except while all of its tokens that remain may be in
//     flight, or drafts on which it depends whether it needs a block, or in a pipeline a token.
//     With it: schedule() gives no plan only when nothing is left or a report is due.
//  5. Tokens sampled before a preemption are part of the answer, even when their report comes after
//     it (the shards' generator is keyed by seed and position, so they would be drawn again).
class Scheduler {
 public:
  // Throws Error naming the option that is out of range.
  Scheduler(const SchedulerOptions& options, std::uint64_t epoch);

  // Queues a request. Throws Error when its prompt is empty, its id is known, max_tokens is not
  // positive, or prompt and max_tokens exceed max_model_len or the whole cache: admission's job.
  void add(Request request);

  // Forgets a sequence, at any point of its life; its results in flight are ignored. False when it
  // is not known (has ended).
  bool cancel(std::uint64_t sequence_id);

  // The next plan, or nothing when there is nothing to compute before the next report.
  std::optional<comm::StepPlan> schedule();

  // A plan without entries, in sequence with the others: a heartbeat, or the last plan.
  comm::StepPlan empty_plan(bool shutdown);

  // Takes the report, with tokens, of the oldest plan in flight: the new tokens, in plan order, of
  // the sequences that are still known, up to their ends. Throws Error when the report is not of
  // that plan or its tokens are not those that the plan samples.
  std::vector<ScheduledToken> apply(const comm::StepReport& report);

  std::int32_t num_running() const { return static_cast<std::int32_t>(running_.size()); }
  std::int32_t num_waiting() const { return static_cast<std::int32_t>(waiting_.size()); }
  std::uint64_t num_preemptions() const { return num_preemptions_; }
  const BlockManager& blocks() const { return blocks_; }
  const SchedulerOptions& options() const { return options_; }

 private:
  struct Sampling {
    std::uint64_t sequence_id;
    std::int32_t max_drafts;
  };
  struct PlanInFlight {
    std::uint64_t sequence_number;
    std::vector<Sampling> samples;  // in plan order
  };

  void send(comm::StepPlan& plan);
  bool waits_for_report(const Sequence& sequence) const;
  bool decodes(const Sequence& sequence) const;
  bool add_decodes(comm::StepPlan& plan, std::int32_t& budget);
  void add_prefills(comm::StepPlan& plan, std::int32_t& budget);
  void admit_waiting(comm::StepPlan& plan, std::int32_t& budget);
  void add_entry(comm::StepPlan& plan, Sequence& sequence, std::int32_t num_tokens,
                 std::int32_t max_drafts = 0);
  std::int32_t drafts_of_each(std::int32_t num_decodes) const;
  std::int32_t num_positions(const Sequence& sequence) const;  // that its blocks hold
  bool allocate_up_to(std::int32_t length, Sequence& sequence);
  bool reserve_decode_block(Sequence& sequence);
  std::span<const comm::SampledToken> take_tokens(const PlanInFlight& plan,
                                                  const Sampling& sampling,
                                                  std::span<const comm::SampledToken>& left) const;
  void apply(const Sampling& sampling, std::span<const comm::SampledToken> sampled,
             Sequence& sequence, std::vector<ScheduledToken>& tokens);
  void preempt_youngest();
  void leave_shards(Sequence& sequence);
  void forget(Sequence& sequence);

  SchedulerOptions options_;
  std::uint64_t epoch_;
  std::uint64_t last_sequence_number_ = 0;
  BlockManager blocks_;
  std::unordered_map<std::uint64_t, std::unique_ptr<Sequence>> sequences_;
  std::vector<Sequence*> running_;         // in order of arrival
  std::deque<Sequence*> waiting_;          // in order of arrival
  std::vector<std::uint64_t> ends_;        // for the next plan
  std::vector<comm::KnownToken> sampled_;  // for the next plan, where there is a pipeline
  std::deque<PlanInFlight> in_flight_;
  std::uint64_t num_preemptions_ = 0;
};

}  // namespace lockstep::coordinator

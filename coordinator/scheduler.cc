#include "coordinator/scheduler.h"

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>

#include "base/error.h"

namespace lockstep::coordinator {
namespace {

void require(bool holds, std::string_view what) {
  if (!holds) throw Error("scheduler: " + std::string(what));
}

template <class Container>
void erase_value(Container& container, const Sequence* sequence) {
  const auto at = std::find(container.begin(), container.end(), sequence);
  if (at != container.end()) container.erase(at);
}

}  // namespace

Scheduler::Scheduler(const SchedulerOptions& options, std::uint64_t epoch)
    : options_(options), epoch_(epoch), blocks_(options.num_blocks, options.block_size) {
  require(options.max_num_seqs >= 1, "max_num_seqs must be at least 1");
  // Else a batch full of decodes could leave an older prefill without a token (invariant 4).
  require(options.max_num_batched_tokens >= options.max_num_seqs,
          "max_num_batched_tokens must be at least max_num_seqs");
  require(options.pipeline_stages >= 1, "pipeline_stages must be at least 1");
  require(options.num_speculative_tokens >= 0, "num_speculative_tokens must not be negative");
  require(options.max_num_batched_tokens > options.num_speculative_tokens,
          "max_num_batched_tokens must be more than num_speculative_tokens");
  require(options.max_model_len >= 2, "max_model_len must be at least 2");
}

void Scheduler::add(Request request) {
  const std::int64_t prompt = static_cast<std::int64_t>(request.prompt_token_ids.size());
  const std::int64_t total = prompt + request.stop.max_tokens;
  require(prompt > 0, "a request's prompt is empty");
  require(request.stop.max_tokens > 0, "a request's max_tokens is not positive");
  require(total <= options_.max_model_len, "a request exceeds max_model_len");
  // The last token is never computed, so it needs no place in the cache.
  require(blocks_.blocks_for(total - 1) <= blocks_.num_blocks(), "a request exceeds the KV cache");
  const std::uint64_t id = request.sequence_id;
  auto sequence = std::make_unique<Sequence>();
  sequence->token_ids = request.prompt_token_ids;
  sequence->request = std::move(request);
  const auto [entry, inserted] = sequences_.emplace(id, std::move(sequence));
  require(inserted, "a sequence id is used twice");
  waiting_.push_back(entry->second.get());
}

bool Scheduler::cancel(std::uint64_t sequence_id) {
  const auto entry = sequences_.find(sequence_id);
  if (entry == sequences_.end()) return false;
  forget(*entry->second);
  return true;
}

std::optional<comm::StepPlan> Scheduler::schedule() {
  comm::StepPlan plan;
  std::int32_t budget = options_.max_num_batched_tokens;
  const std::uint64_t preemptions_before = num_preemptions_;
  const bool all_have_room = add_decodes(plan, budget);
  add_prefills(plan, budget);
  // Free blocks are for those who run: those that a preemption has just freed, and few ones.
  if (all_have_room && num_preemptions_ == preemptions_before) admit_waiting(plan, budget);
  if (plan.entries.empty()) return std::nullopt;
  send(plan);
  return plan;
}

comm::StepPlan Scheduler::empty_plan(bool shutdown) {
  comm::StepPlan plan;
  plan.shutdown = shutdown;
  send(plan);
  return plan;
}

// Numbers the plan and keeps what its report must answer.
void Scheduler::send(comm::StepPlan& plan) {
  plan.epoch = epoch_;
  plan.sequence_number = ++last_sequence_number_;
  plan.ends = std::exchange(ends_, {});
  plan.sampled = std::exchange(sampled_, {});
  PlanInFlight in_flight{plan.sequence_number, {}};
  for (const comm::PlanEntry& entry : plan.entries) {
    if (entry.samples) in_flight.samples.push_back({entry.sequence_id, entry.max_drafts});
  }
  in_flight_.push_back(std::move(in_flight));
}

// The first stage cannot compute what the last one has just sampled.
bool Scheduler::waits_for_report(const Sequence& sequence) const {
  return options_.pipeline_stages > 1 && sequence.num_in_flight > 0;
}

bool Scheduler::decodes(const Sequence& sequence) const {
  return sequence.num_remaining() == 1 && sequence.num_left() > 0 && !waits_for_report(sequence);
}

// Prompts go first: drafts are for steps that have no other use for their room. A plan that has
// some admits nobody, so that tokens are drawn of no more rows than the sequences that may run, or
// the drafts and one.
std::int32_t Scheduler::drafts_of_each(std::int32_t num_decodes) const {
  const bool admits = !waiting_.empty() && num_running() < options_.max_num_seqs;
  const bool prefills =
      std::ranges::any_of(running_, [](const Sequence* s) { return s->num_remaining() > 1; });
  if (admits || prefills || num_decodes == 0) return 0;
  return std::max(0, (options_.num_speculative_tokens + 1) / num_decodes - 1);
}

// False when one is left out for want of blocks that it may not need.
bool Scheduler::add_decodes(comm::StepPlan& plan, std::int32_t& budget) {
  // As many as leave every other stage a plan of its own.
  const std::int32_t stages = options_.pipeline_stages;
  std::int32_t share = (num_running() + stages - 1) / stages;
  const auto num_decodes = static_cast<std::int32_t>(
      std::ranges::count_if(running_, [this](const Sequence* s) { return decodes(*s); }));
  std::int32_t drafts_of_each = this->drafts_of_each(std::min(share, num_decodes));
  bool all_have_room = true;
  // By index, and the size read anew: preemption takes sequences off the end.
  for (std::size_t i = 0; i < running_.size() && share > 0; ++i) {
    Sequence& sequence = *running_[i];
    if (!decodes(sequence)) continue;
    // Short of its last token, so that the next plan need not wait to know whether that is there.
    std::int32_t drafts = std::clamp(sequence.num_left() - 2, 0, drafts_of_each);
    // Nobody makes room for drafts, nor for a token whose place depends on drafts in flight.
    if (!allocate_up_to(sequence.longest() + drafts, sequence)) {
      const bool is_certain = sequence.num_drafts_in_flight == 0;
      if (!is_certain && !allocate_up_to(sequence.longest(), sequence)) {
        all_have_room = false;
        drafts_of_each = 0;  // what is free is not for others' drafts
        continue;
      }
      if (!reserve_decode_block(sequence)) break;  // it was the youngest, and is preempted itself
      drafts = std::min(drafts, num_positions(sequence) - sequence.longest());
    }
    add_entry(plan, sequence, 1, drafts);
    budget -= 1 + drafts;
    share -= 1;
  }
  return all_have_room;
}

void Scheduler::add_prefills(comm::StepPlan& plan, std::int32_t& budget) {
  for (Sequence* sequence : running_) {
    if (budget == 0) return;
    if (sequence->num_remaining() == 1) continue;
    const std::int32_t num_tokens = std::min(sequence->num_remaining(), budget);
    add_entry(plan, *sequence, num_tokens);
    budget -= num_tokens;
  }
}

void Scheduler::admit_waiting(comm::StepPlan& plan, std::int32_t& budget) {
  while (!waiting_.empty() && budget > 0 && num_running() < options_.max_num_seqs) {
    Sequence& sequence = *waiting_.front();
    if (sequence.num_in_flight > 0) return;
    // All that the known tokens need: a prefill, once started, never lacks a block.
    const std::int32_t num_blocks = blocks_.blocks_for(sequence.length());
    if (!blocks_.allocate(num_blocks, sequence.block_table)) return;
    waiting_.pop_front();
    running_.push_back(&sequence);
    sequence.started = true;
    plan.starts.push_back({sequence.request.sequence_id, sequence.request.sampling,
                           sequence.num_prompt_tokens(), sequence.token_ids});
    const std::int32_t num_tokens = std::min(sequence.num_remaining(), budget);
    add_entry(plan, sequence, num_tokens);
    budget -= num_tokens;
  }
}

// REQUIRES: the blocks of the entry's positions are reserved.
void Scheduler::add_entry(comm::StepPlan& plan, Sequence& sequence, std::int32_t num_tokens,
                          std::int32_t max_drafts) {
  comm::PlanEntry entry;
  entry.sequence_id = sequence.request.sequence_id;
  entry.first_position =
      sequence.num_drafts_in_flight > 0 ? comm::kAtLastToken : sequence.num_computed;
  entry.num_tokens = num_tokens;
  entry.samples = num_tokens == sequence.num_remaining();
  entry.max_drafts = max_drafts;
  // As far as it comes if all drafts are right. Where they were not, more have been sent already.
  const std::int32_t num_blocks = std::max(
      sequence.num_blocks_sent, blocks_.blocks_for(sequence.num_computed + num_tokens +
                                                   sequence.num_drafts_in_flight + max_drafts));
  entry.new_blocks.assign(sequence.block_table.begin() + sequence.num_blocks_sent,
                          sequence.block_table.begin() + num_blocks);
  sequence.num_blocks_sent = num_blocks;
  sequence.num_computed += num_tokens;
  if (entry.samples) ++sequence.num_in_flight;
  sequence.num_drafts_in_flight += max_drafts;
  plan.entries.push_back(std::move(entry));
}

std::int32_t Scheduler::num_positions(const Sequence& sequence) const {
  return static_cast<std::int32_t>(sequence.block_table.size()) * options_.block_size;
}

// False, and nothing changed, when too few blocks are free.
bool Scheduler::allocate_up_to(std::int32_t length, Sequence& sequence) {
  const std::int32_t missing =
      blocks_.blocks_for(length) - static_cast<std::int32_t>(sequence.block_table.size());
  return missing <= 0 || blocks_.allocate(missing, sequence.block_table);
}

// Makes room for the next position, at the cost of younger sequences if need be. False when the
// sequence itself was the youngest and had to go.
bool Scheduler::reserve_decode_block(Sequence& sequence) {
  while (!allocate_up_to(sequence.longest(), sequence)) {
    const bool itself = running_.back() == &sequence;
    preempt_youngest();
    if (itself) return false;
  }
  return true;
}

void Scheduler::preempt_youngest() {
  Sequence& sequence = *running_.back();
  running_.pop_back();
  waiting_.push_front(&sequence);
  leave_shards(sequence);
  ++num_preemptions_;
}

// Gives the blocks back and has the shards forget the sequence before they do anything else.
void Scheduler::leave_shards(Sequence& sequence) {
  if (!sequence.started) return;
  ends_.push_back(sequence.request.sequence_id);
  std::erase_if(sampled_, [&](const comm::KnownToken& token) {
    return token.sequence_id == sequence.request.sequence_id;
  });
  blocks_.release(sequence.block_table);
  sequence.num_blocks_sent = 0;
  sequence.num_computed = 0;
  sequence.started = false;
}

void Scheduler::forget(Sequence& sequence) {
  leave_shards(sequence);
  erase_value(running_, &sequence);
  erase_value(waiting_, &sequence);
  sequences_.erase(sequence.request.sequence_id);
}

std::vector<ScheduledToken> Scheduler::apply(const comm::StepReport& report) {
  require(!in_flight_.empty(), "a report came while no plan is in flight");
  const PlanInFlight plan = std::move(in_flight_.front());
  in_flight_.pop_front();
  require(report.sequence_number == plan.sequence_number,
          "the report of step " + std::to_string(report.sequence_number) + " came, step " +
              std::to_string(plan.sequence_number) + " is due");
  std::vector<ScheduledToken> tokens;
  tokens.reserve(report.sampled.size());
  std::span<const comm::SampledToken> left = report.sampled;
  for (const Sampling& sampling : plan.samples) {
    const std::span<const comm::SampledToken> sampled = take_tokens(plan, sampling, left);
    const auto entry = sequences_.find(sampling.sequence_id);
    if (entry == sequences_.end()) continue;  // it has ended meanwhile
    apply(sampling, sampled, *entry->second, tokens);
  }
  require(left.empty(), "step " + std::to_string(plan.sequence_number) +
                            " reports more tokens than its plan samples");
  return tokens;
}

// The tokens of a sequence, which are the next of those that are left of a report.
std::span<const comm::SampledToken> Scheduler::take_tokens(
    const PlanInFlight& plan, const Sampling& sampling,
    std::span<const comm::SampledToken>& left) const {
  const auto other = std::ranges::find_if(left, [&](const comm::SampledToken& token) {
    return token.sequence_id != sampling.sequence_id;
  });
  const auto count = other - left.begin();
  require(count >= 1 && count <= 1 + sampling.max_drafts,
          "step " + std::to_string(plan.sequence_number) + " reports " + std::to_string(count) +
              " tokens where its plan samples 1 to " + std::to_string(1 + sampling.max_drafts) +
              " of sequence " + std::to_string(sampling.sequence_id));
  const auto taken = left.first(static_cast<std::size_t>(count));
  left = left.subspan(static_cast<std::size_t>(count));
  return taken;
}

// What a step has sampled of a sequence: tokens up to its end are added to `tokens`.
void Scheduler::apply(const Sampling& sampling, std::span<const comm::SampledToken> sampled,
                      Sequence& sequence, std::vector<ScheduledToken>& tokens) {
  --sequence.num_in_flight;
  sequence.num_drafts_in_flight -= sampling.max_drafts;
  if (sequence.started) sequence.num_computed += static_cast<std::int32_t>(sampled.size()) - 1;
  for (const comm::SampledToken& token : sampled) {
    sequence.token_ids.push_back(token.token_id);
    const auto num_generated =
        static_cast<std::int32_t>(sequence.token_ids.size()) - sequence.num_prompt_tokens();
    std::optional<Finish> finish = check_stop(sequence.request.stop, token.token_id, num_generated);
    if (options_.pipeline_stages > 1 && sequence.started) {
      sampled_.push_back({token.sequence_id, token.token_id});
    }
    const bool ends = finish.has_value();
    tokens.push_back({token, std::move(finish)});
    if (ends) return forget(sequence);  // accepted drafts behind its end are nothing
  }
}

}  // namespace lockstep::coordinator

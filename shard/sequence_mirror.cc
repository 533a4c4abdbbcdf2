#include "shard/sequence_mirror.h"

#include <cmath>
#include <string>
#include <unordered_set>
#include <utility>

#include "base/error.h"
#include "shard/logprobs.h"
#include "shard/token_selection.h"

namespace lockstep::shard {
namespace {

[[noreturn]] void fail(std::uint64_t sequence_id, const std::string& what) {
  throw Error("plan, sequence " + std::to_string(sequence_id) + ": " + what);
}

template <class Number>
[[noreturn]] void fail(std::uint64_t sequence_id, const std::string& field, Number value,
                       const std::string& rule) {
  fail(sequence_id, field + " " + std::to_string(value) + " " + rule);
}

void check_token(std::int32_t token_id, std::int32_t vocab_size, std::uint64_t id,
                 const char* field) {
  if (token_id >= 0 && token_id < vocab_size) return;
  fail(id, field, token_id, "is outside the vocabulary of " + std::to_string(vocab_size));
}

std::int32_t last_position(const MirroredSequence& sequence) {
  return static_cast<std::int32_t>(sequence.token_ids.size()) - 1;
}

// The comparisons are written so that NaN fails them.
void check_sampling(const comm::SamplingParams& params, std::int32_t vocab_size, std::uint64_t id) {
  if (!(params.temperature >= 0.0f && std::isfinite(params.temperature))) {
    fail(id, "temperature", params.temperature, "is not a finite number from 0");
  }
  if (!(params.top_p > 0.0f && params.top_p <= 1.0f)) {
    fail(id, "top_p", params.top_p, "is not above 0 and at most 1");
  }
  if (params.top_k < 0) fail(id, "top_k", params.top_k, "is negative");
  if (!(params.min_p >= 0.0f && params.min_p <= 1.0f)) {
    fail(id, "min_p", params.min_p, "is not in [0, 1]");
  }
  if (!(params.repetition_penalty > 0.0f && std::isfinite(params.repetition_penalty))) {
    fail(id, "repetition_penalty", params.repetition_penalty, "is not a finite number above 0");
  }
  if (!std::isfinite(params.presence_penalty)) {
    fail(id, "presence_penalty", params.presence_penalty, "is not finite");
  }
  if (!std::isfinite(params.frequency_penalty)) {
    fail(id, "frequency_penalty", params.frequency_penalty, "is not finite");
  }
  if (params.logprobs < -1 || params.logprobs > kMostLogprobs) {
    fail(id, "logprobs", params.logprobs, "is not in [-1, " + std::to_string(kMostLogprobs) + "]");
  }
  if (params.min_tokens < 0) fail(id, "min_tokens", params.min_tokens, "is negative");
  for (const std::int32_t token_id : params.stop_token_ids) {
    check_token(token_id, vocab_size, id, "stop_token_ids");
  }
  std::int32_t last_biased = -1;
  for (const auto& [token_id, bias] : params.logit_bias) {
    check_token(token_id, vocab_size, id, "logit_bias");
    if (!std::isfinite(bias)) fail(id, "logit_bias", bias, "is not finite");
    if (token_id <= last_biased) fail(id, "logit_bias", token_id, "is not in ascending order");
    last_biased = token_id;
  }
}

}  // namespace

SequenceMirror::SequenceMirror(MirrorLimits limits) : limits_(limits) {
  if (limits.block_size < 1 || limits.num_blocks < 1 || limits.vocab_size < 1) {
    throw Error("sequence mirror: block_size, num_blocks and vocab_size must be positive");
  }
}

void SequenceMirror::apply(const comm::StepPlan& plan) {
  for (const std::uint64_t sequence_id : plan.ends) end(sequence_id);
  for (const comm::SequenceStart& start : plan.starts) this->start(start, plan.sequence_number);
  for (const comm::KnownToken& token : plan.sampled) append(token.sequence_id, token.token_id);
  std::unordered_set<std::uint64_t> entered;
  for (const comm::PlanEntry& entry : plan.entries) {
    if (!entered.insert(entry.sequence_id).second) {
      fail(entry.sequence_id, "entries name it twice");
    }
    extend(entry);
  }
}

const MirroredSequence& SequenceMirror::sequence(std::uint64_t sequence_id) const {
  const auto found = sequences_.find(sequence_id);
  if (found == sequences_.end()) fail(sequence_id, "is not known");
  return found->second;
}

MirroredSequence& SequenceMirror::known(std::uint64_t sequence_id) {
  const auto found = sequences_.find(sequence_id);
  if (found == sequences_.end()) fail(sequence_id, "is not known");
  return found->second;
}

void SequenceMirror::append(std::uint64_t sequence_id, std::int32_t token_id) {
  MirroredSequence& sequence = known(sequence_id);
  check_token(token_id, limits_.vocab_size, sequence_id, "sampled token");
  // An accepted draft was computed in the place that it has now.
  if (sequence.num_computed == last_position(sequence) &&
      sequence.num_accepted < sequence.num_drafts) {
    ++sequence.num_computed;
    ++sequence.num_accepted;
  }
  sequence.token_ids.push_back(token_id);
  if (has_penalty(sequence.sampling)) sequence.counts.add_answer_token(token_id);
}

std::vector<std::int32_t> SequenceMirror::draft(std::uint64_t sequence_id, std::int32_t most,
                                                bool alone) {
  MirroredSequence& sequence = known(sequence_id);
  std::vector<std::int32_t> drafts = sequence.drafter.draft(sequence.token_ids, most, alone);
  sequence.num_drafts = static_cast<std::int32_t>(drafts.size());
  return drafts;
}

SequenceMirror::UnknownToken SequenceMirror::append_unknown(std::uint64_t sequence_id,
                                                            std::int32_t row) {
  MirroredSequence& sequence = known(sequence_id);
  sequence.token_ids.push_back(kUnknownToken);
  sequence.sampled_row = row;
  return {sequence_id, sequence.started_by, sequence.token_ids.size() - 1};
}

bool SequenceMirror::learn(const UnknownToken& place, std::int32_t token_id) {
  check_token(token_id, limits_.vocab_size, place.sequence_id, "sampled token");
  const auto found = sequences_.find(place.sequence_id);
  if (found == sequences_.end() || found->second.started_by != place.started_by) return false;
  MirroredSequence& sequence = found->second;
  sequence.token_ids[place.position] = token_id;
  if (place.position + 1 == sequence.token_ids.size()) sequence.sampled_row = -1;
  if (has_penalty(sequence.sampling)) sequence.counts.add_answer_token(token_id);
  return true;
}

void SequenceMirror::learn(const UnknownToken& place, std::span<const comm::SampledToken> tokens) {
  if (!learn(place, tokens.front().token_id)) return;
  for (const comm::SampledToken& token : tokens.subspan(1)) {
    append(place.sequence_id, token.token_id);
  }
}

void SequenceMirror::end(std::uint64_t sequence_id) {
  if (sequences_.erase(sequence_id) == 0) {
    fail(sequence_id, "ends name a sequence that is not known");
  }
}

void SequenceMirror::start(const comm::SequenceStart& start, std::uint64_t plan) {
  const std::uint64_t id = start.sequence_id;
  const auto size = static_cast<std::int32_t>(start.token_ids.size());
  if (start.num_prompt_tokens < 1 || start.num_prompt_tokens > size) {
    fail(id, "num_prompt_tokens", start.num_prompt_tokens,
         "is not from 1 to the " + std::to_string(size) + " token_ids");
  }
  for (const std::int32_t token_id : start.token_ids) {
    check_token(token_id, limits_.vocab_size, id, "token_ids");
  }
  check_sampling(start.sampling, limits_.vocab_size, id);

  MirroredSequence sequence{.sampling = start.sampling,
                            .num_prompt_tokens = start.num_prompt_tokens,
                            .token_ids = start.token_ids,
                            .block_table = {},
                            .num_computed = -1,
                            .counts = {},
                            .started_by = plan,
                            .sampled_row = -1,
                            .drafter = {},
                            .num_drafts = 0,
                            .num_accepted = 0};
  if (has_penalty(start.sampling)) {
    for (std::int32_t i = 0; i < size; ++i) {
      const std::int32_t token_id = start.token_ids[static_cast<std::size_t>(i)];
      if (i < start.num_prompt_tokens) {
        sequence.counts.add_prompt_token(token_id);
      } else {
        sequence.counts.add_answer_token(token_id);
      }
    }
  }
  if (!sequences_.try_emplace(id, std::move(sequence)).second) {
    fail(id, "starts name a sequence that is already known");
  }
}

void SequenceMirror::extend(const comm::PlanEntry& entry) {
  const std::uint64_t id = entry.sequence_id;
  MirroredSequence& sequence = known(id);
  const bool at_last = entry.first_position == comm::kAtLastToken;
  const std::int32_t first = at_last ? last_position(sequence) : entry.first_position;
  if (entry.num_tokens < 1) fail(id, "num_tokens", entry.num_tokens, "is less than 1");
  if (first < 0) fail(id, "first_position", first, "is negative");
  if (at_last && sequence.num_computed < 0) {
    fail(id, "first_position is that of the last token, and no token before it is computed");
  }
  if (sequence.num_computed >= 0 && first != sequence.num_computed) {
    fail(id, "first_position", first,
         "is not " + std::to_string(sequence.num_computed) + ", where the last entry ended");
  }
  const std::int64_t end = std::int64_t{first} + entry.num_tokens;
  const auto num_known = static_cast<std::int64_t>(sequence.token_ids.size());
  if (end > num_known) {
    fail(id, "num_tokens", entry.num_tokens,
         "reaches beyond the " + std::to_string(num_known) + " known tokens");
  }
  if (entry.max_drafts < 0) fail(id, "max_drafts", entry.max_drafts, "is negative");
  if (entry.max_drafts > 0 && !entry.samples) {
    fail(id, "max_drafts", entry.max_drafts, "where samples is not set");
  }
  if (entry.samples && end < num_known) {
    fail(id, "samples is set, but the entry ends at position " + std::to_string(end) + " of " +
                 std::to_string(num_known) + " known tokens");
  }
  for (const std::int32_t block : entry.new_blocks) {
    if (block < 0 || block >= limits_.num_blocks) {
      fail(id, "new_blocks", block,
           "is not one of the " + std::to_string(limits_.num_blocks) + " blocks");
    }
    sequence.block_table.push_back(block);
  }
  const auto num_blocks = static_cast<std::int64_t>(sequence.block_table.size());
  const std::int64_t furthest = end + entry.max_drafts;
  if (furthest > num_blocks * limits_.block_size) {
    fail(id, "new_blocks leave a table of " + std::to_string(num_blocks) + " blocks of " +
                 std::to_string(limits_.block_size) + ", too few for " + std::to_string(furthest) +
                 " positions");
  }
  sequence.num_computed = static_cast<std::int32_t>(end);
  if (sequence.num_drafts > 0) {
    sequence.drafter.learn(sequence.num_drafts, sequence.num_accepted);
  }
  sequence.num_drafts = sequence.num_accepted = 0;
}

}  // namespace lockstep::shard

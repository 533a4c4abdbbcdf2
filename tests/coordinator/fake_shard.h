// A shard without a model: it executes plans on mirror state as strictly as a real one must, and
// "samples" a token that is a pure function of the request's seed and the position.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "comm/message.h"
#include "kernels/philox.h"

namespace lockstep::coordinator::testing {

constexpr std::int32_t kVocabSize = 256;

// The token that follows position - 1.
inline std::int32_t fake_token(std::uint64_t seed, std::int32_t position) {
  const auto words = kernels::philox4x32({static_cast<std::uint32_t>(position), 0, 0, 0},
                                         {static_cast<std::uint32_t>(seed), 0});
  return static_cast<std::int32_t>(words[0] % kVocabSize);
}

// The draft for that place, right or wrong as the place says.
inline std::int32_t fake_draft(std::uint64_t seed, std::int32_t position) {
  const bool right = fake_token(seed ^ 0x5eed, position) % 4 != 0;
  return (fake_token(seed, position) + (right ? 0 : 1)) % kVocabSize;
}

// How many drafts there are of at most `most`.
inline std::int32_t fake_drafts(std::uint64_t seed, std::int32_t position, std::int32_t most) {
  return fake_token(seed ^ 0xd4a7, position) % (most + 1);
}

class FakeShard {
 public:
  // `pipeline`: as the shards of one, which know of a sampled token only what a plan says.
  FakeShard(std::int32_t num_blocks, std::int32_t block_size, std::int32_t max_num_batched_tokens,
            bool pipeline = false)
      : block_size_(block_size),
        max_num_batched_tokens_(max_num_batched_tokens),
        pipeline_(pipeline),
        cache_(static_cast<std::size_t>(num_blocks) * block_size) {}

  std::int32_t max_logits = 1 << 20;  // tokens drawn in a step, those of all drafts included

  // Executes the plan; throws Error on anything that breaks the contract of comm/message.h.
  comm::StepReport execute(const comm::StepPlan& plan) {
    check(plan.sequence_number == ++steps_, "a gap in the plans");
    for (const std::uint64_t id : plan.ends) {
      check(sequences_.count(id) == 1, "the end of an unknown sequence");
      for (const std::int32_t block : sequences_[id].block_table) owned_.erase(block);
      sequences_.erase(id);
    }
    for (const comm::SequenceStart& start : plan.starts) {
      check(sequences_.count(start.sequence_id) == 0, "a start of a known sequence");
      check(start.num_prompt_tokens > 0, "an empty prompt");
      sequences_[start.sequence_id] = {start.sampling.seed, start.token_ids, {}, 0, false};
    }
    check(pipeline_ || plan.sampled.empty(), "sampled tokens for shards that know them");
    for (const comm::KnownToken& token : plan.sampled) {
      check(sequences_.count(token.sequence_id) == 1, "a token of an unknown sequence");
      Mirror& mirror = sequences_[token.sequence_id];
      const auto length = static_cast<std::int32_t>(mirror.token_ids.size());
      check(token.token_id == fake_token(mirror.seed, length), "a token that was not sampled");
      mirror.token_ids.push_back(token.token_id);
    }
    comm::StepReport report;
    report.epoch = plan.epoch;
    report.sequence_number = plan.sequence_number;
    report.digest = 0x1000 + plan.sequence_number;
    std::int32_t num_tokens = 0, num_logits = 0;
    std::set<std::uint64_t> seen;
    for (const comm::PlanEntry& entry : plan.entries) {
      check(seen.insert(entry.sequence_id).second, "two entries of one sequence");
      num_tokens += entry.num_tokens + entry.max_drafts;
      if (entry.samples) num_logits += 1 + entry.max_drafts;
      positions_computed_ += entry.num_tokens;
      run(entry, report);
    }
    check(num_tokens <= max_num_batched_tokens_, "a plan over the token budget");
    check(num_logits <= max_logits, "a plan over the shards' memory for logits");
    return report;
  }

  std::size_t num_sequences() const { return sequences_.size(); }
  // Without drafts.
  std::int64_t positions_computed() const { return positions_computed_; }
  std::int64_t drafts_accepted() const { return drafts_accepted_; }

 private:
  struct Mirror {
    std::uint64_t seed = 0;
    std::vector<std::int32_t> token_ids;
    std::vector<std::int32_t> block_table;
    std::int32_t num_computed = 0;
    bool drafts = false;  // has drafted: its blocks may reach further than its positions
  };
  struct Slot {
    std::uint64_t sequence_id = 0;
    std::int32_t position = -1;
    std::int32_t token_id = -1;
    bool operator==(const Slot&) const = default;
  };

  static void check(bool holds, const char* what) {
    if (!holds) throw Error(std::string("fake shard: ") + what);
  }

  Slot& slot(const Mirror& mirror, std::int32_t position) {
    return cache_[static_cast<std::size_t>(mirror.block_table[position / block_size_]) *
                      block_size_ +
                  position % block_size_];
  }

  void run(const comm::PlanEntry& entry, comm::StepReport& report) {
    check(sequences_.count(entry.sequence_id) == 1, "an entry of an unknown sequence");
    Mirror& mirror = sequences_[entry.sequence_id];
    for (const std::int32_t block : entry.new_blocks) {
      check(block >= 0 && static_cast<std::size_t>(block) * block_size_ < cache_.size(),
            "a block that does not exist");
      check(owned_.insert(block).second, "a block of two live sequences");
      mirror.block_table.push_back(block);
    }
    const auto length = static_cast<std::int32_t>(mirror.token_ids.size());
    const bool at_last = entry.first_position == comm::kAtLastToken;
    check(!at_last || (mirror.drafts && !pipeline_), "a position that is known, and is not told");
    const std::int32_t first = at_last ? length - 1 : entry.first_position;
    const std::int32_t end = first + entry.num_tokens;
    check(entry.max_drafts >= 0 && (entry.samples || entry.max_drafts == 0), "drafts in a prompt");
    mirror.drafts |= entry.max_drafts > 0;
    check(entry.num_tokens > 0, "an entry without tokens");
    check(first == mirror.num_computed, "positions with a gap");
    check(end <= length, "positions beyond the known tokens");
    check(entry.samples == (end == length), "samples must be set exactly at the last token");
    const auto blocks = static_cast<std::int32_t>(mirror.block_table.size());
    const std::int32_t needed = (end + entry.max_drafts + block_size_ - 1) / block_size_;
    check(blocks == needed || (mirror.drafts && blocks > needed),
          "the block table must fit the positions exactly");
    for (std::int32_t p = first; p < end; ++p) {
      slot(mirror, p) = {entry.sequence_id, p, mirror.token_ids[p]};
    }
    // What attention reads must be the sequence's own.
    for (std::int32_t p = 0; p < end; ++p) {
      check(slot(mirror, p) == Slot{entry.sequence_id, p, mirror.token_ids[p]},
            "the cache holds something else");
    }
    mirror.num_computed = end;
    if (!entry.samples) return;
    sample(entry.sequence_id, mirror, report);
    const std::int32_t drafts = fake_drafts(mirror.seed, end, entry.max_drafts);
    report.drafts += static_cast<std::uint32_t>(drafts);
    for (std::int32_t p = end; p < end + drafts; ++p) {
      slot(mirror, p) = {entry.sequence_id, p, fake_draft(mirror.seed, p)};
    }
    for (std::int32_t p = end; p < end + drafts; ++p) {
      if (fake_draft(mirror.seed, p) != fake_token(mirror.seed, p)) break;
      ++mirror.num_computed;
      ++drafts_accepted_;
      ++report.accepted_drafts;
      sample(entry.sequence_id, mirror, report);
    }
  }

  // The token behind what is computed.
  void sample(std::uint64_t sequence_id, Mirror& mirror, comm::StepReport& report) {
    comm::SampledToken sampled;
    sampled.sequence_id = sequence_id;
    sampled.token_id = fake_token(mirror.seed, mirror.num_computed);
    sampled.logprob = -0.5f;
    if (!pipeline_) mirror.token_ids.push_back(sampled.token_id);
    report.sampled.push_back(sampled);
  }

  std::int32_t block_size_;
  std::int32_t max_num_batched_tokens_;
  bool pipeline_;
  std::vector<Slot> cache_;
  std::map<std::uint64_t, Mirror> sequences_;
  std::set<std::int32_t> owned_;
  std::uint64_t steps_ = 0;
  std::int64_t positions_computed_ = 0;
  std::int64_t drafts_accepted_ = 0;
};

}  // namespace lockstep::coordinator::testing

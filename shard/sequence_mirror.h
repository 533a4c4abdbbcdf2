// What every shard remembers of the sequences of its replica. All ranks apply the same plans, so
// their mirrors are equal without a word between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "comm/message.h"
#include "shard/ngram_drafter.h"
#include "shard/token_counts.h"

namespace lockstep::shard {

// What the values of a plan are checked against.
struct MirrorLimits {
  std::int32_t block_size = 0;  // positions in a KV block
  std::int32_t num_blocks = 0;  // KV blocks of the cache; their ids are [0, num_blocks)
  std::int32_t vocab_size = 0;
};

// One sequence. Invariants:
//   - 1 <= num_prompt_tokens <= token_ids.size();
//   - num_computed <= token_ids.size(), and num_computed <= block_table.size() * block_size.
struct MirroredSequence {
  comm::SamplingParams sampling;
  std::int32_t num_prompt_tokens = 0;
  // The prompt, then the answer so far; the last may be kUnknownToken.
  std::vector<std::int32_t> token_ids;
  std::vector<std::int32_t> block_table;  // KV blocks of positions 0, block_size, 2 block_size, ...
  // Positions whose keys and values the cache holds once the plan in hand is executed; -1 before
  // the sequence's first entry, which may begin after a cached prefix.
  std::int32_t num_computed = -1;
  TokenCounts counts;             // of the known tokens; empty unless has_penalty(sampling)
  std::uint64_t started_by = 0;   // the number of the plan
  std::int32_t sampled_row = -1;  // of an unknown last token: the row of the step that chooses it
  NgramDrafter drafter;           // of what may follow
  std::int32_t num_drafts = 0;    // of its last entry
  std::int32_t num_accepted = 0;  // of them, as far as is known
};

// A token that is chosen while the next plan is applied.
inline constexpr std::int32_t kUnknownToken = -1;

class SequenceMirror {
 public:
  // Throws Error if a limit is not positive.
  explicit SequenceMirror(MirrorLimits limits);

  // Forgets the plan's ends, adds its starts, appends its sampled tokens and the new blocks of its
  // entries. Throws
  // Error naming the field and the sequence, with the mirror in an unspecified state, unless
  //   - ends name known sequences, starts unknown ones (after the ends), entries known ones (after
  //     the starts), none of them twice in its list;
  //   - a start's tokens are in the vocabulary, 1 <= num_prompt_tokens <= token_ids.size(), and its
  //     sampling parameters are in their ranges (vLLM's; logprobs at most 20);
  //   - a sampled token's sequence is known (after the starts) and the token in the vocabulary;
  //   - an entry has num_tokens >= 1 and begins where the sequence's last one ended (the first:
  //     anywhere), its tokens are known, it reaches the last one if it samples, which it does if it
  //     has drafts, and the blocks cover its positions, those of its drafts included;
  //   - an entry at the last token (comm::kAtLastToken) has that one token, which follows on what
  //     is computed.
  void apply(const comm::StepPlan& plan);

  // Throws Error if the sequence is not known. The reference holds until the sequence ends.
  const MirroredSequence& sequence(std::uint64_t sequence_id) const;

  // Appends a token to the answer of a known sequence: what the last step drew, or an accepted
  // draft of it. Throws Error if it is not known or the token is outside the vocabulary.
  void append(std::uint64_t sequence_id, std::int32_t token_id);

  // At most `most` guesses of what follows the sequence's tokens, all of which are known: drafts of
  // its last entry. `alone`: as NgramDrafter has it. Throws Error if the sequence is not known.
  std::vector<std::int32_t> draft(std::uint64_t sequence_id, std::int32_t most, bool alone);

  // The place of a token that a step under way chooses for its row `row`.
  struct UnknownToken {
    std::uint64_t sequence_id, started_by;
    std::size_t position;
  };
  // Appends kUnknownToken to the answer. Throws Error if the sequence is not known.
  UnknownToken append_unknown(std::uint64_t sequence_id, std::int32_t row);
  // The token is known now. False, and nothing, where the sequence has ended meanwhile. Throws
  // Error if the token is outside the vocabulary.
  bool learn(const UnknownToken& place, std::int32_t token_id);
  // The same of a token and the accepted drafts behind it. REQUIRES: where there are drafts, the
  // place is that of the sequence's last token.
  void learn(const UnknownToken& place, std::span<const comm::SampledToken> tokens);

  // Number of known sequences.
  std::size_t size() const { return sequences_.size(); }

 private:
  MirroredSequence& known(std::uint64_t sequence_id);
  void end(std::uint64_t sequence_id);
  void start(const comm::SequenceStart& start, std::uint64_t plan);
  void extend(const comm::PlanEntry& entry);

  MirrorLimits limits_;
  std::unordered_map<std::uint64_t, MirroredSequence> sequences_;
};

}  // namespace lockstep::shard

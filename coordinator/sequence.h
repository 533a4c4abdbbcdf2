// What the scheduler knows of one request.
#pragma once

#include <cstdint>
#include <vector>

#include "comm/message.h"
#include "coordinator/stop_conditions.h"

namespace lockstep::coordinator {

// A request as the scheduler takes it: admitted, tokenized, its limits resolved.
struct Request {
  std::uint64_t sequence_id = 0;  // never used twice in an epoch
  comm::SamplingParams sampling;  // as the shards get it
  std::vector<std::int32_t> prompt_token_ids;
  StopConditions stop;
};

// Invariants:
//  1. block_table covers positions [0, num_computed) at least; a waiting sequence has none.
//  2. num_computed < length() between calls of the scheduler: the token sampled last is never
//     computed before the next plan.
//  3. What plans in flight sample is at least a token each, and one more for each of their drafts
//     that is right: the sequence has length() tokens at least and longest() at most.
//  4. A sequence that waits with num_in_flight > 0 was preempted; it restarts only when that is 0,
//     so that its restart names every token that was ever sampled for it.
struct Sequence {
  Request request;
  std::vector<std::int32_t> token_ids;  // the prompt and the answer, as far as reported
  // Positions that plans have covered since the last start, with no draft that is in flight.
  std::int32_t num_computed = 0;
  std::int32_t num_in_flight = 0;         // plans that sample for it and whose report is to come
  std::int32_t num_drafts_in_flight = 0;  // the most drafts that these may compute
  std::vector<std::int32_t> block_table;  // reserved blocks, in order of position
  std::int32_t num_blocks_sent = 0;       // of block_table, how many the shards have been told
  bool started = false;                   // the shards know it

  // Tokens sampled but not reported included, accepted drafts not.
  std::int32_t length() const {
    return static_cast<std::int32_t>(token_ids.size()) + num_in_flight;
  }
  // If all drafts in flight are accepted.
  std::int32_t longest() const { return length() + num_drafts_in_flight; }
  std::int32_t num_prompt_tokens() const {
    return static_cast<std::int32_t>(request.prompt_token_ids.size());
  }
  // Positions left to compute; 1 in decode.
  std::int32_t num_remaining() const { return length() - num_computed; }
  // Tokens that it may have beyond longest(). 0: nothing is left to compute, or it is not known yet
  // that something is.
  std::int32_t num_left() const {
    return num_prompt_tokens() + request.stop.max_tokens - longest();
  }
};

}  // namespace lockstep::coordinator

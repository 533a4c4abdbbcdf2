// One rank's part of the forward pass.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace lockstep::shard {

// One sequence's share of a batch.
struct ForwardSequence {
  // [num_tokens] at first_position, first_position + 1, ...
  std::span<const std::int32_t> token_ids;
  std::int32_t first_position = 0;
  // KV blocks of positions [0, first_position + num_tokens).
  std::span<const std::int32_t> block_table;
  // Logits are wanted of so many of the last tokens; on GPUs of one at most.
  std::int32_t num_logits = 0;
  // The last of token_ids is not known yet: it is what the step before has chosen for its row of
  // this number (StepRunner). -1: all are known, as ModelRunner::forward() has it.
  std::int32_t sampled_row = -1;
};

// Rows [begin, end) of the vocabulary.
struct VocabRange {
  std::int32_t begin = 0;
  std::int32_t end = 0;
};

class ModelRunner {
 public:
  virtual ~ModelRunner() = default;
  // Runs the batch, writes its keys and values into the cache, and returns the logits
  // [tokens that want them, vocab_range().end - vocab_range().begin] of this rank's rows, row
  // major. They stay valid until the next call.
  virtual std::span<float> forward(std::span<const ForwardSequence> batch) = 0;
  virtual VocabRange vocab_range() const = 0;
};

}  // namespace lockstep::shard

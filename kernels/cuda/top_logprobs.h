// Log-probabilities of the best tokens, and of chosen ones, from whole rows of raw logits: the log
// of the softmax in double in one order, rounded to float. Differs from shard/logprobs.h, whose sum
// has another order, by a rounding at most.
#pragma once

#include <cstdint>

#include "kernels/cuda/grid.h"
#include "kernels/scored_token.h"

namespace lockstep::kernels::cuda {

// Tokens that one block looks at.
inline constexpr std::int32_t kLogprobSlice = 4096;
inline constexpr std::int32_t kMaxTopLogprobs = 64;

// A slice's part of the softmax: its largest logit, and the sum of e^(logit - largest).
struct SliceSum {
  double sum;
  float largest;  // -infinity: no token is possible
};

// NaN counts as -infinity. A row must have a logit above -infinity, and none that is infinite.
struct TopLogprobsArgs {
  const float* logits;  // [rows, vocabulary], rows logits_stride apart
  std::int64_t logits_stride;
  const std::int32_t* chosen;  // [rows]: a token each
  SliceSum* sums;              // [rows, slices]: scratch
  ScoredToken* candidates;     // [rows, slices, best]: scratch
  float* chosen_logprobs;      // [rows]
  // [rows, best]: the best tokens with their log-probabilities, those with lower ids first among
  // equals; token_id -1 where there are fewer.
  ScoredToken* top;
  std::int32_t rows;
  std::int32_t vocabulary;
  std::int32_t best;  // how many, 0 to kMaxTopLogprobs
};

constexpr std::int32_t logprob_slices(std::int32_t vocabulary) {
  return static_cast<std::int32_t>(divide_up(vocabulary, kLogprobSlice));
}

// A block sorts out tokens in its shared memory: [tokens], then what its warps exchange.
constexpr std::int64_t logprob_shared_bytes(std::int64_t tokens, int threads) {
  return divide_up(tokens, 2) * 2 * std::int64_t{sizeof(ScoredToken)} +
         threads / kWarp * std::int64_t{sizeof(double)};
}
constexpr Grid logprobs_of_slices_grid(const TopLogprobsArgs& args) {
  constexpr int kThreads = 256;
  return {.x = args.rows,
          .y = logprob_slices(args.vocabulary),
          .threads = kThreads,
          .shared_bytes = logprob_shared_bytes(kLogprobSlice, kThreads)};
}
constexpr Grid logprobs_of_rows_grid(const TopLogprobsArgs& args) {
  constexpr int kThreads = 256;
  return {.x = args.rows,
          .threads = kThreads,
          .shared_bytes = logprob_shared_bytes(
              std::int64_t{logprob_slices(args.vocabulary)} * args.best, kThreads)};
}

void launch_top_logprobs(const TopLogprobsArgs& args, StreamHandle stream);

}  // namespace lockstep::kernels::cuda

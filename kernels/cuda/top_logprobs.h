// Log-probabilities of the best tokens, and of chosen ones, from whole rows of raw logits, with the
// bits of shard/logprobs.h.
#pragma once

#include <cstdint>

#include "kernels/cuda/grid.h"
#include "kernels/scored_token.h"

namespace lockstep::kernels::cuda {

// Tokens that one block looks at.
inline constexpr std::int32_t kLogprobSlice = 4096;
inline constexpr std::int32_t kMaxTopLogprobs = 64;

// NaN counts as -infinity.
struct TopLogprobsArgs {
  const float* logits;  // [rows, vocabulary], rows logits_stride apart
  std::int64_t logits_stride;
  const ScoredToken* sampled;       // a step's tokens
  const std::int32_t* sampled_row;  // [rows]: whose token of them is looked up
  std::uint64_t* sums;              // [rows, slices]: scratch
  ScoredToken* candidates;          // [rows, slices, the best, but one at least]: scratch
  // [rows, 2 + best]: the sampled token with its log-probability; the likeliest one with its logit,
  // which tells whether the others are numbers: it must be finite; the best tokens with their
  // log-probabilities, those with lower ids first among equals. token_id -1 where there are fewer.
  ScoredToken* out;
  std::int32_t rows;
  std::int32_t vocabulary;  // at most kMostWeighedTokens
  std::int32_t best;        // how many, 0 to kMaxTopLogprobs
};

constexpr std::int32_t logprob_slices(std::int32_t vocabulary) {
  return static_cast<std::int32_t>(divide_up(vocabulary, kLogprobSlice));
}

// What a slice keeps.
constexpr std::int32_t logprob_candidates(const TopLogprobsArgs& args) {
  return args.best > 0 ? args.best : 1;
}

// A block sorts out tokens in its shared memory: [tokens], then what its warps exchange.
constexpr std::int64_t logprob_shared_bytes(std::int64_t tokens, int threads) {
  return (tokens + threads / kWarp) * std::int64_t{sizeof(ScoredToken)};
}
constexpr Grid best_of_slices_grid(const TopLogprobsArgs& args) {
  constexpr int kThreads = 256;
  return {.x = args.rows,
          .y = logprob_slices(args.vocabulary),
          .threads = kThreads,
          .shared_bytes = logprob_shared_bytes(kLogprobSlice, kThreads)};
}
constexpr Grid weights_of_slices_grid(const TopLogprobsArgs& args) {
  constexpr int kThreads = 256;
  return {.x = args.rows,
          .y = logprob_slices(args.vocabulary),
          .threads = kThreads,
          .shared_bytes = kThreads / kWarp * std::int64_t{sizeof(std::uint64_t)}};
}
constexpr Grid logprobs_of_rows_grid(const TopLogprobsArgs& args) {
  constexpr int kThreads = 256;
  return {.x = args.rows,
          .threads = kThreads,
          .shared_bytes = logprob_shared_bytes(
              std::int64_t{logprob_slices(args.vocabulary)} * logprob_candidates(args), kThreads)};
}

void launch_top_logprobs(const TopLogprobsArgs& args, StreamHandle stream);

}  // namespace lockstep::kernels::cuda

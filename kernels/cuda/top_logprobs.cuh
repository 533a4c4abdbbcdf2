// Log-probabilities of the best tokens: device code.
#pragma once

#include <cmath>

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/token_choice.cuh"
#include "kernels/cuda/top_logprobs.h"
#include "kernels/token_weight.h"

namespace lockstep::kernels::cuda {

// The best of `tokens` [count] in shared memory, in every thread; it is taken from them.
// `scratch`: shared memory of one token a warp. Begins and ends with a barrier.
template <class Thread>
LOCKSTEP_DEVICE ScoredToken take_best(Thread& t, ScoredToken* tokens, std::int32_t count,
                                      ScoredToken* scratch) {
  t.sync();
  ScoredToken best;
  std::int32_t place = -1;
  for (std::int32_t i = t.index(); i < count; i += t.count()) {
    if (!wins(tokens[i], best)) continue;
    best = tokens[i];
    place = i;
  }
  ScoredToken winner = warp_winner(t, best);
  if (t.lane() == 0) scratch[t.warp()] = winner;
  t.sync();
  for (int warp = 0; warp < t.count() / kWarp; ++warp) {
    if (wins(scratch[warp], winner)) winner = scratch[warp];
  }
  if (place >= 0 && best.token_id == winner.token_id) tokens[place].token_id = -1;
  t.sync();
  return winner;
}

// A block for each slice of each row: its best tokens.
template <class Thread>
LOCKSTEP_DEVICE void best_of_slices(Thread& t, const TopLogprobsArgs& args) {
  const std::int32_t begin = t.block_y() * kLogprobSlice;
  const std::int32_t left = args.vocabulary - begin;
  const std::int32_t count = left < kLogprobSlice ? left : kLogprobSlice;
  const float* logits = args.logits + t.block_x() * args.logits_stride + begin;
  auto* tokens = t.template shared<ScoredToken>(0, kLogprobSlice);
  auto* scratch = t.template shared<ScoredToken>(kLogprobSlice * std::int64_t{sizeof(ScoredToken)},
                                                 t.count() / kWarp);
  for (std::int32_t i = t.index(); i < count; i += t.count()) {
    const float logit = t.load(logits + i);
    tokens[i] = {logit, logit > -INFINITY ? begin + i : -1};
  }
  const std::int32_t kept = logprob_candidates(args);
  const std::int64_t slice =
      std::int64_t{t.block_x()} * logprob_slices(args.vocabulary) + t.block_y();
  for (std::int32_t rank = 0; rank < kept; ++rank) {
    const auto best = take_best(t, tokens, count, scratch);
    if (t.index() == 0) t.store(args.candidates + slice * kept + rank, best);
  }
}

// The likeliest token of a row.
template <class Thread>
LOCKSTEP_DEVICE ScoredToken best_of_row(Thread& t, const TopLogprobsArgs& args) {
  const std::int32_t slices = logprob_slices(args.vocabulary);
  const std::int32_t kept = logprob_candidates(args);
  const ScoredToken* candidates = args.candidates + std::int64_t{t.block_x()} * slices * kept;
  ScoredToken best;
  for (std::int32_t i = 0; i < slices; ++i) {
    const ScoredToken candidate = t.load(candidates + i * kept);
    if (wins(candidate, best)) best = candidate;
  }
  return best;
}

// A block for each slice of each row: the sum of its weights.
template <class Thread>
LOCKSTEP_DEVICE void weights_of_slices(Thread& t, const TopLogprobsArgs& args) {
  const std::int32_t begin = t.block_y() * kLogprobSlice;
  const std::int32_t left = args.vocabulary - begin;
  const std::int32_t count = left < kLogprobSlice ? left : kLogprobSlice;
  const float* logits = args.logits + t.block_x() * args.logits_stride + begin;
  const float top = best_of_row(t, args).score;
  std::uint64_t sum = 0;
  for (std::int32_t i = t.index(); i < count; i += t.count()) {
    sum += token_weight(t.load(logits + i) - top);
  }
  sum = block_sum(t, sum, t.template shared<std::uint64_t>(0, t.count() / kWarp));
  const std::int64_t slice =
      std::int64_t{t.block_x()} * logprob_slices(args.vocabulary) + t.block_y();
  if (t.index() == 0) t.store(args.sums + slice, sum);
}

// A block a row.
template <class Thread>
LOCKSTEP_DEVICE void logprobs_of_rows(Thread& t, const TopLogprobsArgs& args) {
  const std::int32_t slices = logprob_slices(args.vocabulary);
  const std::int64_t row = t.block_x();
  const ScoredToken likeliest = best_of_row(t, args);
  std::uint64_t sum = 0;
  for (std::int32_t i = 0; i < slices; ++i) sum += t.load(args.sums + row * slices + i);
  const double log_sum = log_of_weights(sum, likeliest.score);
  const auto logprob = [&](float logit) {
    return logit > -INFINITY ? static_cast<float>(static_cast<double>(logit) - log_sum) : -INFINITY;
  };
  ScoredToken* out = args.out + row * (2 + args.best);
  if (t.index() == 0) {
    ScoredToken sampled{-INFINITY, t.load(args.sampled + t.load(args.sampled_row + row)).token_id};
    if (sampled.token_id >= 0) {
      sampled.score = logprob(t.load(args.logits + row * args.logits_stride + sampled.token_id));
    }
    t.store(out, sampled);
    t.store(out + 1, likeliest);
  }
  if (args.best == 0) return;
  const std::int32_t count = slices * args.best;
  auto* tokens = t.template shared<ScoredToken>(0, count);
  auto* scratch =
      t.template shared<ScoredToken>(count * std::int64_t{sizeof(ScoredToken)}, t.count() / kWarp);
  for (std::int32_t i = t.index(); i < count; i += t.count()) {
    tokens[i] = t.load(args.candidates + row * count + i);
  }
  for (std::int32_t rank = 0; rank < args.best; ++rank) {
    ScoredToken best = take_best(t, tokens, count, scratch);
    if (t.index() != 0) continue;
    if (best.token_id >= 0) best.score = logprob(best.score);
    t.store(out + 2 + rank, best);
  }
}

}  // namespace lockstep::kernels::cuda

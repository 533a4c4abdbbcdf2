// Log-probabilities of the best tokens: device code.
#pragma once

#include <cmath>

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/reduce.cuh"
#include "kernels/cuda/token_choice.cuh"
#include "kernels/cuda/top_logprobs.h"
#include "kernels/deterministic_math.h"

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

// A block for each slice of each row: its part of the softmax, and its best tokens.
template <class Thread>
LOCKSTEP_DEVICE void logprobs_of_slices(Thread& t, const TopLogprobsArgs& args) {
  const std::int32_t begin = t.block_y() * kLogprobSlice;
  const std::int32_t left = args.vocabulary - begin;
  const std::int32_t count = left < kLogprobSlice ? left : kLogprobSlice;
  const float* logits = args.logits + t.block_x() * args.logits_stride + begin;
  auto* tokens = t.template shared<ScoredToken>(0, kLogprobSlice);
  const std::int64_t behind = kLogprobSlice * std::int64_t{sizeof(ScoredToken)};
  auto* scratch = t.template shared<double>(behind, t.count() / kWarp);
  for (std::int32_t i = t.index(); i < count; i += t.count()) {
    const float logit = t.load(logits + i);
    tokens[i] = {logit, logit > -INFINITY ? begin + i : -1};
  }
  const std::int64_t slice =
      std::int64_t{t.block_x()} * logprob_slices(args.vocabulary) + t.block_y();
  float largest = -INFINITY;
  for (std::int32_t rank = 0; rank < args.best || rank == 0; ++rank) {
    const auto best = take_best(t, tokens, count, reinterpret_cast<ScoredToken*>(scratch));
    if (rank == 0 && best.token_id >= 0) largest = best.score;
    if (rank < args.best && t.index() == 0) {
      t.store(args.candidates + slice * args.best + rank, best);
    }
  }
  double sum = 0.0;
  for (std::int32_t i = t.index(); i < count; i += t.count()) {
    const float logit = t.load(logits + i);
    if (!(logit > -INFINITY)) continue;
    sum += deterministic_exp(static_cast<double>(logit) - static_cast<double>(largest));
  }
  sum = block_sum(t, sum, scratch);
  if (t.index() == 0) t.store(args.sums + slice, SliceSum{sum, largest});
}

// A block a row: slices in their order.
template <class Thread>
LOCKSTEP_DEVICE void logprobs_of_rows(Thread& t, const TopLogprobsArgs& args) {
  const std::int32_t slices = logprob_slices(args.vocabulary);
  const std::int32_t count = slices * args.best;
  const std::int64_t row = t.block_x();
  const SliceSum* sums = args.sums + row * slices;
  float largest = -INFINITY;
  for (std::int32_t i = 0; i < slices; ++i) largest = fmaxf(largest, t.load(sums + i).largest);
  double sum = 0.0;
  for (std::int32_t i = 0; i < slices; ++i) {
    const SliceSum slice = t.load(sums + i);
    if (!(slice.largest > -INFINITY)) continue;
    sum += slice.sum *
           deterministic_exp(static_cast<double>(slice.largest) - static_cast<double>(largest));
  }
  const double log_sum = static_cast<double>(largest) + deterministic_log(sum);
  if (t.index() == 0) {
    const float logit = t.load(args.logits + row * args.logits_stride + t.load(args.chosen + row));
    t.store(
        args.chosen_logprobs + row,
        logit > -INFINITY ? static_cast<float>(static_cast<double>(logit) - log_sum) : -INFINITY);
  }
  auto* tokens = t.template shared<ScoredToken>(0, count);
  const std::int64_t behind = divide_up(count, 2) * 2 * std::int64_t{sizeof(ScoredToken)};
  auto* scratch = t.template shared<ScoredToken>(behind, t.count() / kWarp);
  for (std::int32_t i = t.index(); i < count; i += t.count()) {
    tokens[i] = t.load(args.candidates + row * count + i);
  }
  for (std::int32_t rank = 0; rank < args.best; ++rank) {
    ScoredToken best = take_best(t, tokens, count, scratch);
    if (t.index() != 0) continue;
    if (best.token_id >= 0) {
      best.score = static_cast<float>(static_cast<double>(best.score) - log_sum);
    }
    t.store(args.top + row * args.best + rank, best);
  }
}

}  // namespace lockstep::kernels::cuda

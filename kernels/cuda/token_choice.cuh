// The choice of the next token: device code.
#pragma once

#include <cmath>

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/token_choice.h"
#include "kernels/token_noise.h"

namespace lockstep::kernels::cuda {

// A block a row. The three kinds of changes come one after the other.
template <class Thread>
LOCKSTEP_DEVICE void modify_logits(Thread& t, const TokenChoiceArgs& args) {
  const RowSampling row = t.load(args.sampling + t.block_x());
  float* logits = args.logits + t.block_x() * args.logits_stride;
  const auto mine = [&](std::int32_t token) {
    return args.begin_token <= token && token < args.end_token;
  };
  for (int i = row.biases.begin + t.index(); i < row.biases.end; i += t.count()) {
    const TokenBias bias = t.load(args.biases + i);
    if (!mine(bias.token_id)) continue;
    float* logit = logits + (bias.token_id - args.begin_token);
    t.store(logit, t.load(logit) + bias.bias);
  }
  t.sync();
  for (int i = row.forbidden.begin + t.index(); i < row.forbidden.end; i += t.count()) {
    const std::int32_t token = t.load(args.forbidden + i);
    if (mine(token)) t.store(logits + (token - args.begin_token), -INFINITY);
  }
  t.sync();
  for (int i = row.counts.begin + t.index(); i < row.counts.end; i += t.count()) {
    const CountedToken count = t.load(args.counts + i);
    if (!mine(count.token_id)) continue;
    float* place = logits + (count.token_id - args.begin_token);
    float logit = t.load(place);
    logit = logit > 0.0f ? logit / row.repetition_penalty : logit * row.repetition_penalty;
    logit -= row.frequency_penalty * static_cast<float>(count.in_answer);
    if (count.in_answer > 0) logit -= row.presence_penalty;
    t.store(place, logit);
  }
}

// The winner among the lanes' tokens, in every lane.
template <class Thread>
LOCKSTEP_DEVICE ScoredToken warp_winner(Thread& t, ScoredToken token) {
  for (int mask = kWarp / 2; mask > 0; mask /= 2) {
    const ScoredToken other{t.shuffle_xor(token.score, mask), t.shuffle_xor(token.token_id, mask)};
    if (wins(other, token)) token = other;
  }
  return token;
}

// The best of four tokens from `first` on, a multiple of 4, and `best`. Their noise is computed
// only if the largest of all noises could make one of them win: quotient and sum are non-decreasing
// functions, rounding included.
template <class Thread>
LOCKSTEP_DEVICE ScoredToken better_of_four(Thread& t, const TokenChoiceArgs& args,
                                           const RowSampling& row, std::int32_t first,
                                           ScoredToken best) {
  constexpr float kMostNoise = gumbel_noise(1.0f - 0x1p-24f);
  const float* logits = args.logits + t.block_x() * args.logits_stride;
  const bool greedy = row.temperature == 0.0f;
  float scores[4];
  bool hopeful = false;
  for (int i = 0; i < 4; ++i) {
    const std::int32_t token = first + i;
    scores[i] = -INFINITY;
    if (token < args.begin_token || token >= args.end_token) continue;
    const float logit = t.load(logits + (token - args.begin_token));
    if (!(logit > -INFINITY)) continue;
    scores[i] = greedy ? logit : logit / row.temperature;
    hopeful |= greedy || !(scores[i] + kMostNoise < best.score);
  }
  if (!hopeful) return best;
  PhiloxCounter words{};
  if (!greedy) words = token_words(row.seed, row.position, static_cast<std::uint32_t>(first) / 4);
  for (int i = 0; i < 4; ++i) {
    if (!(scores[i] > -INFINITY)) continue;
    const ScoredToken token{
        greedy ? scores[i] : scores[i] + gumbel_noise(uniform_of(words[std::size_t(i)])),
        first + i};
    if (wins(token, best)) best = token;
  }
  return best;
}

// A block for each slice of each row.
template <class Thread>
LOCKSTEP_DEVICE void choose_in_slices(Thread& t, const TokenChoiceArgs& args) {
  const RowSampling row = t.load(args.sampling + t.block_x());
  const std::int32_t begin = args.begin_token / 4 * 4 + t.block_y() * kSliceTokens;
  ScoredToken best;
  for (std::int32_t i = 4 * t.index(); i < kSliceTokens; i += 4 * t.count()) {
    best = better_of_four(t, args, row, begin + i, best);
  }
  best = warp_winner(t, best);
  auto* of_warps = t.template shared<ScoredToken>(0, t.count() / kWarp);
  if (t.lane() == 0) of_warps[t.warp()] = best;
  t.sync();
  if (t.index() != 0) return;
  for (int warp = 1; warp < t.count() / kWarp; ++warp) {
    if (wins(of_warps[warp], best)) best = of_warps[warp];
  }
  const std::int32_t slices = choice_slices(args.begin_token, args.end_token);
  t.store(args.candidates + std::int64_t{t.block_x()} * slices + t.block_y(), best);
}

// A warp a row.
template <class Thread>
LOCKSTEP_DEVICE void choose_among_slices(Thread& t, const TokenChoiceArgs& args) {
  const std::int32_t slices = choice_slices(args.begin_token, args.end_token);
  const ScoredToken* candidates = args.candidates + std::int64_t{t.block_x()} * slices;
  ScoredToken best;
  for (std::int32_t i = t.lane(); i < slices; i += kWarp) {
    const ScoredToken candidate = t.load(candidates + i);
    if (wins(candidate, best)) best = candidate;
  }
  best = warp_winner(t, best);
  if (t.lane() == 0) t.store(args.winners + t.block_x(), best);
}

}  // namespace lockstep::kernels::cuda

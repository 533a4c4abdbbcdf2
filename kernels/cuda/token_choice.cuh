// The choice of the next token: device code.
#pragma once

#include <bit>
#include <cmath>

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/token_choice.h"
#include "kernels/ranking_key.h"
#include "kernels/token_noise.h"

namespace lockstep::kernels::cuda {

LOCKSTEP_DEVICE float penalized(float logit, const RowSampling& row, std::int32_t in_answer) {
  logit = logit > 0.0f ? logit / row.repetition_penalty : logit * row.repetition_penalty;
  logit -= row.frequency_penalty * static_cast<float>(in_answer);
  return in_answer > 0 ? logit - row.presence_penalty : logit;
}

// A block a row. The three kinds of changes come one after the other.
template <class Thread>
LOCKSTEP_DEVICE void modify_logits(Thread& t, const TokenChoiceArgs& args) {
  const RowSampling row = t.load(args.sampling + t.block_x());
  float* logits = args.logits + t.block_x() * args.logits_stride;
  const auto mine = [&](std::int32_t token) {
    return args.begin_token <= token && token < args.end_token;
  };
  for (int i = row.biases.begin + t.index(); i < row.biases.end; i += t.count()) {
    const ListedToken bias = t.load(args.listed + i);
    if (!mine(bias.token_id)) continue;
    float* logit = logits + (bias.token_id - args.begin_token);
    t.store(logit, t.load(logit) + std::bit_cast<float>(bias.value));
  }
  auto* counts_the_last = t.template shared<std::int32_t>(0, 1);
  if (t.index() == 0) *counts_the_last = 0;
  t.sync();
  for (int i = row.forbidden.begin + t.index(); i < row.forbidden.end; i += t.count()) {
    const std::int32_t token = t.load(args.listed + i).token_id;
    if (mine(token)) t.store(logits + (token - args.begin_token), -INFINITY);
  }
  t.sync();
  const std::int32_t last =
      row.sampled_row >= 0 ? t.load(args.sampled + row.sampled_row).token_id : -1;
  for (int i = row.counts.begin + t.index(); i < row.counts.end; i += t.count()) {
    const ListedToken count = t.load(args.listed + i);
    if (count.token_id == last) *counts_the_last = 1;
    if (!mine(count.token_id)) continue;
    float* place = logits + (count.token_id - args.begin_token);
    const std::int32_t in_answer = count.value + (count.token_id == last ? 1 : 0);
    t.store(place, penalized(t.load(place), row, in_answer));
  }
  t.sync();
  if (t.index() != 0 || !mine(last) || *counts_the_last != 0) return;
  float* place = logits + (last - args.begin_token);
  t.store(place, penalized(t.load(place), row, 1));
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
  const std::uint64_t cut =
      args.cuts == nullptr ? ~std::uint64_t{0} : t.load(args.cuts + t.block_x());
  float scores[4];
  bool hopeful = false;
  for (int i = 0; i < 4; ++i) {
    const std::int32_t token = first + i;
    scores[i] = -INFINITY;
    if (token < args.begin_token || token >= args.end_token) continue;
    const float logit = t.load(logits + (token - args.begin_token));
    if (!(logit > -INFINITY) || ranking_key(logit, token) > cut) continue;
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
  for (std::int32_t i = 4 * t.index(); i < kSliceTokens && row.elsewhere == 0; i += 4 * t.count()) {
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
  if (t.lane() != 0) return;
  const std::int32_t place =
      args.places == nullptr ? t.block_x() : t.load(args.places + t.block_x());
  t.store(args.winners + place, best);
}

// A thread a row.
template <class Thread>
LOCKSTEP_DEVICE void choose_among_ranks(Thread& t, const RankWinnersArgs& args) {
  const std::int32_t row = t.block_x() * t.count() + t.index();
  if (row >= args.rows) return;
  ScoredToken best;
  for (std::int64_t rank = 0; rank < args.ranks; ++rank) {
    const ScoredToken candidate = t.load(args.winners + rank * args.rows + row);
    if (wins(candidate, best)) best = candidate;
  }
  t.store(args.chosen + row, best);
}

}  // namespace lockstep::kernels::cuda

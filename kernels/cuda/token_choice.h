// The choice of the next token of every row from its logits, as shard/token_selection.h has it for
// the CPU and with the same bits: modification of logits, then the winner among a rank's tokens.
// Ranks exchange their winners; scored_token.h says who wins.
#pragma once

#include <cstdint>

#include "kernels/cuda/grid.h"
#include "kernels/scored_token.h"

namespace lockstep::kernels::cuda {

// A token that a row's logits are modified at.
struct ListedToken {
  std::int32_t token_id;
  // Of a bias the bits of the float, of a token of the prompt or the answer how often it is in the
  // answer.
  std::int32_t value;
};

// A run of entries of TokenChoiceArgs::listed, which all rows share.
struct Run {
  std::int32_t begin;
  std::int32_t end;
};

// How one row's token is chosen.
struct RowSampling {
  std::uint64_t seed;
  std::int32_t position;  // of the token to choose
  float temperature;      // 0: the likeliest token
  float repetition_penalty;
  float presence_penalty;
  float frequency_penalty;
  // No token is biased or counted twice.
  Run biases;     // added to their logits
  Run forbidden;  // tokens that become impossible
  Run counts;     // what penalties are for
  // The row of TokenChoiceArgs::sampled whose token is the answer's last, and not among the counts
  // yet; -1: they are complete.
  std::int32_t sampled_row;
  std::int32_t elsewhere;  // not 0: no winner is looked for here
};

// A rank's logits are those of the tokens [begin_token, end_token); other tokens in the lists are
// left to their owners. NaN counts as -infinity.
struct TokenChoiceArgs {
  float* logits;  // [rows, end_token - begin_token], rows logits_stride apart
  std::int64_t logits_stride;
  const RowSampling* sampling;  // [rows]
  const ListedToken* listed;
  const ScoredToken* sampled;  // [rows of the step before]: what it has chosen
  const std::uint64_t* cuts;   // [rows]: the largest ranking key of each (truncation.h); null: any
  const std::int32_t* places;  // [rows] in `winners`; null: in order
  ScoredToken* candidates;     // [rows, choice_slices()]: scratch
  ScoredToken* winners;        // token_id -1 where no token is possible, or elsewhere
  std::int32_t begin_token;
  std::int32_t end_token;
  std::int32_t rows;
};

// The winners among those of all ranks.
struct RankWinnersArgs {
  const ScoredToken* winners;  // [ranks, rows]
  ScoredToken* chosen;         // [rows]
  std::int32_t ranks;
  std::int32_t rows;
};

// Tokens of a row that one block looks at, from a multiple of 4 on.
inline constexpr std::int32_t kSliceTokens = 4096;

constexpr std::int32_t choice_slices(std::int32_t begin_token, std::int32_t end_token) {
  return static_cast<std::int32_t>(divide_up(end_token - begin_token / 4 * 4, kSliceTokens));
}

constexpr Grid modify_logits_grid(const TokenChoiceArgs& args) {
  return {.x = args.rows, .threads = 128, .shared_bytes = sizeof(std::int32_t)};
}
constexpr Grid choose_in_slices_grid(const TokenChoiceArgs& args) {
  constexpr int kThreads = 256;
  return {.x = args.rows,
          .y = choice_slices(args.begin_token, args.end_token),
          .threads = kThreads,
          .shared_bytes = kThreads / kWarp * std::int64_t{sizeof(ScoredToken)}};
}
constexpr Grid choose_among_slices_grid(const TokenChoiceArgs& args) { return {.x = args.rows}; }
constexpr Grid choose_among_ranks_grid(const RankWinnersArgs& args) {
  return {.x = divide_up(args.rows, kWarp)};
}

// Modifies the logits: biases, forbidden tokens, penalties.
void launch_modify_logits(const TokenChoiceArgs& args, StreamHandle stream);

// Finds the winners among the logits.
void launch_token_choice(const TokenChoiceArgs& args, StreamHandle stream);

void launch_rank_winners(const RankWinnersArgs& args, StreamHandle stream);

}  // namespace lockstep::kernels::cuda

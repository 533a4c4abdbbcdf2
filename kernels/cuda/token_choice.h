// The choice of the next token of every row from its logits, as shard/token_selection.h has it for
// the CPU and with the same bits: modification of logits, then the winner among a rank's tokens.
// Ranks exchange their winners; scored_token.h says who wins.
#pragma once

#include <cstdint>

#include "kernels/cuda/grid.h"
#include "kernels/scored_token.h"

namespace lockstep::kernels::cuda {

struct TokenBias {
  std::int32_t token_id;
  float bias;
};

// A token of the prompt or the answer, and how often it is in the answer.
struct CountedToken {
  std::int32_t token_id;
  std::int32_t in_answer;
};

// A run of entries of an array that all rows share.
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
  // No run has a token twice.
  Run biases;     // of TokenChoiceArgs::biases
  Run forbidden;  // of TokenChoiceArgs::forbidden
  Run counts;     // of TokenChoiceArgs::counts
};

// A rank's logits are those of the tokens [begin_token, end_token); other tokens in the arrays are
// left to their owners. NaN counts as -infinity.
struct TokenChoiceArgs {
  float* logits;  // [rows, end_token - begin_token], rows logits_stride apart
  std::int64_t logits_stride;
  const RowSampling* sampling;    // [rows]
  const TokenBias* biases;        // added to their logits
  const std::int32_t* forbidden;  // token ids that become impossible
  const CountedToken* counts;     // what penalties are for
  ScoredToken* candidates;        // [rows, choice_slices()]: scratch
  ScoredToken* winners;           // [rows]; token_id -1 where no token is possible
  std::int32_t begin_token;
  std::int32_t end_token;
  std::int32_t rows;
};

// Tokens of a row that one block looks at, from a multiple of 4 on.
inline constexpr std::int32_t kSliceTokens = 4096;

constexpr std::int32_t choice_slices(std::int32_t begin_token, std::int32_t end_token) {
  return static_cast<std::int32_t>(divide_up(end_token - begin_token / 4 * 4, kSliceTokens));
}

constexpr Grid modify_logits_grid(const TokenChoiceArgs& args) {
  return {.x = args.rows, .threads = 128};
}
constexpr Grid choose_in_slices_grid(const TokenChoiceArgs& args) {
  constexpr int kThreads = 256;
  return {.x = args.rows,
          .y = choice_slices(args.begin_token, args.end_token),
          .threads = kThreads,
          .shared_bytes = kThreads / kWarp * std::int64_t{sizeof(ScoredToken)}};
}
constexpr Grid choose_among_slices_grid(const TokenChoiceArgs& args) { return {.x = args.rows}; }

// Modifies the logits: biases, forbidden tokens, penalties.
void launch_modify_logits(const TokenChoiceArgs& args, StreamHandle stream);

// Finds the winners among the logits.
void launch_token_choice(const TokenChoiceArgs& args, StreamHandle stream);

}  // namespace lockstep::kernels::cuda

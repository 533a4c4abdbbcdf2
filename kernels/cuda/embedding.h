// The rows of an embedding that is split on its vocabulary.
#pragma once

#include <cstdint>

#include "kernels/cuda/grid.h"
#include "kernels/cuda/matrix_layout.h"
#include "kernels/scored_token.h"

namespace lockstep::kernels::cuda {

// out[i] = the row of token_ids[i] in f32, or zeros if the token is another rank's: the sum over
// all ranks has the row's own bits (but +0 where the row has -0), in any order.
struct EmbeddingArgs {
  const std::uint16_t* table;  // bf16 [end_token - begin_token, columns]
  MatrixLayout layout;         // of the table
  // [rows]; a number i below 0 is the token of sampled[-1 - i], which the step before has chosen.
  const std::int32_t* token_ids;
  const ScoredToken* sampled;  // null: there are none below 0
  std::int32_t begin_token;    // the tokens of this rank
  std::int32_t end_token;
  float* out;  // [rows, columns]
  std::int32_t rows;
  std::int32_t columns;  // a multiple of 32
};

constexpr Grid embedding_grid(const EmbeddingArgs& args) {
  constexpr int kThreads = 128;
  return {.x = args.rows, .y = divide_up(args.columns, 8 * kThreads), .threads = kThreads};
}

void launch_embedding(const EmbeddingArgs& args, StreamHandle stream);

}  // namespace lockstep::kernels::cuda

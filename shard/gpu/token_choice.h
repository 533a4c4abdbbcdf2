// The choice of tokens on the GPU, from logits that stay there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/gpu_exchange.h"
#include "kernels/cuda/gpu.h"
#include "shard/gpu/array.h"
#include "shard/gpu/llama.h"
#include "shard/gpu/logprob_rows.h"
#include "shard/gpu/sampling_lists.h"
#include "shard/gpu/step_upload.h"
#include "shard/gpu/whole_rows.h"
#include "shard/sampler.h"
#include "shard/token_selection.h"

namespace lockstep::shard {

struct GpuChoiceOptions {
  std::int32_t max_sequences = 64;  // of a step
  // Entries of a step's biases, forbidden tokens and counted tokens that there is room for.
  std::int32_t most_listed = 1 << 20;
};

// Chooses what Sampler chooses from the same logits, bit for bit:
//   - the winner among a rank's tokens is looked for where their logits are; winners are exchanged,
//     and every GPU finds the best of them;
//   - of rows with top_k, top_p or min_p, and with logprobs, a rank gets whole ones (GpuWholeRows):
//     modified ones to cut off tokens and to look for the winner, raw ones for logprobs;
//   - rows with longer lists than there is room for come to the host, and the Sampler chooses.
class GpuTokenChoice {
 public:
  // What lay_out() takes of a step's upload, at most.
  static std::size_t upload_bytes(const GpuChoiceOptions& options, int ranks);

  // All must outlive it. The ranks of exchange and sampler are the same.
  GpuTokenChoice(GpuLlamaRunner& model, const GpuChoiceOptions& options, kernels::cuda::Gpu& gpu,
                 comm::GpuExchange& exchange, Sampler& sampler);

  // Adds what the choice needs to the model's upload.
  void lay_out(std::span<const SamplingInput> inputs);
  // Puts the choice among the rows of `logits`, one for each input, in line, and the way to the
  // host.
  void launch(const GpuLogits& logits);
  // The tokens, in the order of the inputs. A collective call of the host's ranks where a row is
  // chosen there. REQUIRES: all that launch() has put in line is done.
  // Throws Error if a row has no token to choose.
  std::vector<comm::SampledToken> finish(std::span<const SamplingInput> inputs);

  // Rows that were chosen on the host so far.
  std::uint64_t host_rows() const { return host_rows_count_; }

 private:
  void lay_out_truncated(std::span<const SamplingInput> inputs, std::int32_t before);
  void gather_winners();

  GpuLlamaRunner& model_;
  kernels::cuda::Gpu& gpu_;
  comm::GpuExchange& exchange_;
  Sampler& sampler_;
  const GpuChoiceOptions options_;
  GpuWholeRows whole_;
  LogprobRows logprobs_;
  GpuArray<ScoredToken> candidates_;        // [sequences, slices of this rank's tokens]
  GpuArray<ScoredToken> whole_candidates_;  // [this rank's whole rows, slices of all tokens]
  GpuArray<ScoredToken> winners_;           // [ranks, rows of the step]
  GpuArray<ScoredToken> chosen_;            // [rows of the step]
  GpuArray<std::uint64_t> cuts_;            // [this rank's whole rows]
  kernels::device::Allocation downloaded_;  // chosen_ on the host, pinned

  // Of the step:
  SamplingLists lists_;
  std::vector<std::int32_t> host_rows_, truncated_rows_, logprob_rows_;
  kernels::cuda::TokenChoiceArgs args_ = {}, whole_args_ = {};
  kernels::cuda::TruncationArgs truncation_ = {};
  std::uint64_t host_rows_count_ = 0;
};

}  // namespace lockstep::shard

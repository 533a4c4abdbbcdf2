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
#include "shard/gpu/step_upload.h"
#include "shard/sampler.h"
#include "shard/token_selection.h"

namespace lockstep::shard {

// Chooses what Sampler chooses from the same logits, bit for bit:
//   - rows that need no more than the largest score: on the GPU; eight bytes a rank and row are
//     exchanged and come to the host, where every rank finds the same winner;
//   - rows with top_k, top_p, min_p or logprobs, or with longer lists than there is room for: their
//     raw logits come to the host, and the Sampler chooses.
class GpuTokenChoice {
 public:
  // Entries of a step's biases, of its forbidden tokens and of its counted ones that there is room
  // for.
  static constexpr std::int32_t kListed = 1 << 16;
  // What lay_out() takes of a step's upload, at most.
  static std::size_t upload_bytes(std::int32_t max_sequences);
  // What it takes of the device of one of `ranks`, which has the tokens of `range`.
  static std::size_t device_bytes(VocabRange range, std::int32_t max_sequences, int ranks);

  // All must outlive it. The ranks of exchange and sampler are the same.
  GpuTokenChoice(GpuLlamaRunner& model, std::int32_t max_sequences, kernels::cuda::Gpu& gpu,
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
  struct Lists {
    std::vector<kernels::cuda::RowSampling> rows;
    std::vector<kernels::cuda::TokenBias> biases;
    std::vector<std::int32_t> forbidden;
    std::vector<kernels::cuda::CountedToken> counts;
  };
  bool fits(const SamplingInput& input) const;
  void list(const SamplingInput& input);

  GpuLlamaRunner& model_;
  kernels::cuda::Gpu& gpu_;
  comm::GpuExchange& exchange_;
  Sampler& sampler_;
  const std::int32_t max_sequences_;
  GpuArray<ScoredToken> candidates_;         // [sequences, slices of this rank's tokens]
  GpuArray<ScoredToken> winners_;            // [ranks, rows of the step]
  kernels::device::Allocation all_winners_;  // the same on the host, pinned

  Lists lists_;  // of the step; kept for their memory
  kernels::cuda::TokenChoiceArgs args_ = {};
  std::vector<std::size_t> host_rows_;  // of the step
  std::uint64_t host_rows_count_ = 0;
};

}  // namespace lockstep::shard

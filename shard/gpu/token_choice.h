// The choice of tokens on the GPU, from logits that stay there.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
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
#include "shard/step_runner.h"
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
// A recorded step holds the choice, logprobs included, where no row goes to the host, and of whole
// rows each kind, raw and modified, is none of the step's rows or all.
class GpuTokenChoice {
 public:
  // What begin() takes of a step's upload, at most.
  static std::size_t upload_bytes(const GpuChoiceOptions& options, int ranks);
  // What it takes of the device of rank `rank` of those with these tokens, in a stage that chooses.
  static std::size_t device_bytes(const GpuChoiceOptions& options,
                                  std::span<const VocabRange> ranges, int rank,
                                  const comm::ExchangeMemory& exchange);

  // All must outlive it. The ranks of exchange and sampler are the same.
  GpuTokenChoice(GpuLlamaRunner& model, const GpuChoiceOptions& options, kernels::cuda::Gpu& gpu,
                 comm::GpuExchange& exchange, Sampler& sampler);

  // Begins a step, between the model's begin() and launch(): adds what the choice needs to its
  // upload. Two steps may be begun and not finished, unless the first needs_host().
  void begin(std::span<const SamplingInput> inputs);
  // What the model is to put in line behind the step's logits. It leaves the tokens in
  // model.sampled(), row by row.
  GpuStepTail tail();
  // Puts the way of what was chosen to the host in line.
  void download();
  // Whether some of the step's tokens are chosen on the host: nobody knows them before finish().
  bool needs_host() const { return !steps_[turn_].host_rows.empty(); }

  // Of the oldest step that is not finished. Whether finish() would not wait.
  bool done() { return oldest().downloaded->reached(); }
  void wait() { model_.wait(*oldest().downloaded, "a step"); }
  // What was chosen. A collective call of the host's ranks where a row is chosen there. Throws
  // Error if a row has no token to choose. REQUIRES: done().
  StepResult finish();

 private:
  // What finish() needs to know, for the sequences may be gone by then.
  struct Row {
    std::uint64_t sequence_id;
    std::int32_t position, logprobs;
  };
  struct Step {
    std::vector<Row> rows;
    std::vector<std::int32_t> host_rows;
    std::vector<std::int32_t> logprob_rows;  // in a recording all, also those that want none
    std::vector<SamplingInput> on_host;  // of host_rows; while they are chosen the sequences stay
    kernels::device::Allocation chosen;  // pinned
    std::unique_ptr<kernels::cuda::Mark> downloaded;
  };
  // Elements of the buffers below.
  struct Sizes {
    std::int64_t candidates, whole_candidates, winners, cuts;
    std::size_t winner_bytes() const {
      return static_cast<std::size_t>(winners) * sizeof(ScoredToken);
    }
  };
  static Sizes sizes(const GpuChoiceOptions& options, std::span<const VocabRange> ranges, int rank);
  Step& oldest() { return steps_[num_begun_ == 2 ? 1 - turn_ : turn_]; }
  void sort_out(std::span<const SamplingInput> inputs);
  void settle_tail();
  bool are_most(const std::vector<std::int32_t>& rows) const;
  void lay_out_whole_choice(std::span<const SamplingInput> inputs, std::int32_t before);
  void launch(const GpuLogits& logits);
  void gather_winners();
  void choose_on_host(const Step& step, std::span<comm::SampledToken> results);

  GpuLlamaRunner& model_;
  kernels::cuda::Gpu& gpu_;
  comm::GpuExchange& exchange_;
  Sampler& sampler_;
  const GpuChoiceOptions options_;
  GpuWholeRows whole_;
  LogprobRows logprobs_;
  GpuArray<ScoredToken> candidates_;        // [sequences, slices of this rank's tokens]
  GpuArray<ScoredToken> whole_candidates_;  // [this rank's whole rows, slices of all tokens]
  GpuArray<ScoredToken> winners_;           // [ranks, rows of the step]; none of one rank
  GpuArray<std::uint64_t> cuts_;            // [this rank's whole rows]

  std::array<Step, 2> steps_;  // which take turns
  std::size_t turn_ = 0;       // of the step that is put in line
  int num_begun_ = 0;          // and not finished
  bool has_warned_ = false;    // of rows that are chosen on the host

  // Of the step that is put in line:
  SamplingLists lists_;
  std::vector<std::int32_t> whole_choice_rows_;
  std::int32_t tail_ = 0;  // GpuStepTail::recordable_as
  std::int32_t best_ = 0;  // as many logprobs as the row has that wants the most, or more
  kernels::cuda::TokenChoiceArgs args_ = {}, whole_args_ = {};
  kernels::cuda::TruncationArgs truncation_ = {};
};

}  // namespace lockstep::shard

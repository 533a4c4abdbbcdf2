// Log-probabilities of chosen and of best tokens on the GPU.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/gpu_exchange.h"
#include "comm/message.h"
#include "kernels/cuda/gpu.h"
#include "shard/gpu/array.h"
#include "shard/gpu/step_upload.h"
#include "shard/gpu/whole_rows.h"
#include "shard/token_selection.h"

namespace lockstep::shard {

// Of the first rows that are dealt whole (GpuWholeRows), each on its rank; all ranks learn all.
class LogprobRows {
 public:
  // `max_rows`: of a step. All must outlive it.
  LogprobRows(kernels::cuda::Gpu& gpu, comm::GpuExchange& exchange, const GpuWholeRows& whole,
              std::int32_t max_rows);
  static std::size_t upload_bytes(std::int32_t max_rows);

  // A step: of the rows to be dealt the first rows.size() are raw ones, of `rows` of the step, and
  // of each at most `best` of the best tokens are wanted.
  void lay_out(std::span<const std::int32_t> rows, std::int32_t best, StepUpload& upload);
  // Puts all of it in line, and the way to the host. `chosen`: the step's tokens.
  void launch(const ScoredToken* chosen);
  // Adds those of the i-th of `rows` to its token: as many of the best as `input` asks for.
  // Throws Error as check_winner() does. REQUIRES: all that launch() has put in line is done.
  void add_to(comm::SampledToken& token, std::int32_t i, const SamplingInput& input) const;

 private:
  // What there is of a row: the chosen token, the likeliest one, and the best.
  std::int64_t entries() const { return 2 + args_.best; }

  kernels::cuda::Gpu& gpu_;
  comm::GpuExchange& exchange_;
  const GpuWholeRows& whole_;
  GpuArray<std::uint64_t> sums_;
  GpuArray<ScoredToken> candidates_, own_;  // of this rank's rows
  GpuArray<ScoredToken> all_;               // of all rows, rank by rank
  kernels::device::Allocation downloaded_;  // the same on the host, pinned

  // Of the step:
  std::int32_t rows_ = 0;
  kernels::cuda::TopLogprobsArgs args_ = {};
};

}  // namespace lockstep::shard

// Log-probabilities of chosen and of best tokens on the GPU.
#pragma once

#include <array>
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
// Steps take turns, 0 and 1, so that one may be put in line while that before it is under way.
class LogprobRows {
 public:
  // `max_rows`: of a step. All must outlive it.
  LogprobRows(kernels::cuda::Gpu& gpu, comm::GpuExchange& exchange, const GpuWholeRows& whole,
              std::int32_t max_rows);
  // What it takes of the device of each of `ranks`, and the most that lay_out() adds to a step's
  // upload.
  static std::size_t device_bytes(std::int32_t max_rows, int ranks, std::int32_t vocabulary);
  static std::size_t upload_bytes(std::int32_t max_rows);

  // A step: of the rows to be dealt the first rows.size() are raw ones, of `rows` of the step, and
  // of each at most `best` of the best tokens are wanted.
  void lay_out(std::span<const std::int32_t> rows, std::int32_t best, std::size_t turn,
               StepUpload& upload);
  // Puts all of it in line. `chosen`: the step's tokens.
  void launch(const ScoredToken* chosen);
  // And the way to the host.
  void download();
  // Adds those of the i-th of the step's `rows` to its token: `best` of the best. Throws Error as
  // check_winner(.., input) does. REQUIRES: all that download() has put in line is done.
  void add_to(comm::SampledToken& token, std::size_t turn, std::int32_t i, std::int32_t best,
              const SamplingInput& input) const;

 private:
  // Of a step's rows on the host.
  struct Results {
    std::int32_t rows = 0;
    std::int64_t entries = 0;  // of a row: the chosen token, the likeliest one, and the best
    kernels::device::Allocation pinned;
    std::size_t row_bytes(std::int32_t count) const {
      return static_cast<std::size_t>(count * entries) * sizeof(ScoredToken);
    }
  };

  // Elements of the buffers below.
  struct Sizes {
    std::int64_t sums, candidates, own, all;
  };
  static Sizes sizes(std::int32_t max_rows, int ranks, std::int32_t vocabulary);

  kernels::cuda::Gpu& gpu_;
  comm::GpuExchange& exchange_;
  const GpuWholeRows& whole_;
  GpuArray<std::uint64_t> sums_;
  GpuArray<ScoredToken> candidates_, own_;  // of this rank's rows
  GpuArray<ScoredToken> all_;               // of all rows, rank by rank
  std::array<Results, 2> results_;          // the same on the host, by turn
  std::size_t turn_ = 0;                    // of the step that is put in line
  kernels::cuda::TopLogprobsArgs args_ = {};
};

}  // namespace lockstep::shard

// Rows of logits whose choice looks at the whole vocabulary, dealt out to the ranks.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "comm/gpu_exchange.h"
#include "kernels/cuda/gpu.h"
#include "shard/gpu/array.h"
#include "shard/gpu/step_upload.h"
#include "shard/model_runner.h"

namespace lockstep::shard {

// Every rank gets some rows of a step whole, and not all ranks all rows: of `count` rows rank r
// has r, r + ranks, r + 2 * ranks, ...: its first, second, third row. One rank copies rows, so that
// they outlive what is done to the logits.
class GpuWholeRows {
 public:
  // `ranges`: the tokens of every rank, which follow each other from 0; `max_rows`: of a step. GPU
  // and exchange must outlive it.
  GpuWholeRows(kernels::cuda::Gpu& gpu, comm::GpuExchange& exchange, std::vector<VocabRange> ranges,
               std::int32_t max_rows);

  // What it takes of the device of rank `rank`, and the most that lay_out() adds to a step's
  // upload.
  static std::size_t device_bytes(std::span<const VocabRange> ranges, int rank,
                                  std::int32_t max_rows);
  static std::size_t upload_bytes(std::int32_t max_rows, int ranks);

  // A step: `rows` of its logits, whose rows are logits_stride apart, are to be dealt.
  void lay_out(std::span<const std::int32_t> rows, std::int64_t logits_stride, StepUpload& upload);
  // Puts in line that the rows [begin, end) of those to be dealt are taken from `logits`.
  void take(const float* logits, std::int32_t begin, std::int32_t end);
  // Puts in line that each gets to its rank, when all of them are taken.
  void deal();

  // Of the first `count` rows to be dealt, those that `rank` gets; this one.
  std::int32_t share(int rank, std::int32_t count) const;
  std::int32_t share(std::int32_t count) const { return share(exchange_.rank(), count); }
  // Which of the rows to be dealt this rank's i-th is.
  std::int32_t dealt_as(std::int32_t i) const { return exchange_.rank() + i * exchange_.size(); }
  // This rank's i-th row [vocabulary]; the others follow it, stride() apart.
  float* row(std::int32_t i) const { return whole_.data() + i * stride(); }
  std::int64_t stride() const { return vocabulary(); }
  std::int32_t vocabulary() const { return ranges_.back().end; }

 private:
  using Pieces = std::vector<kernels::cuda::RowPiece>;
  // The floats of the buffers below.
  struct Sizes {
    std::int64_t sent, received, whole;
  };
  static Sizes sizes(std::span<const VocabRange> ranges, int rank, std::int32_t max_rows);
  void copy(const float* from, float* to, const kernels::cuda::RowPiece* pieces, std::int32_t count,
            std::int32_t longest);
  VocabRange mine() const { return ranges_[static_cast<std::size_t>(exchange_.rank())]; }

  kernels::cuda::Gpu& gpu_;
  comm::GpuExchange& exchange_;
  const std::vector<VocabRange> ranges_;
  const std::int32_t most_whole_;    // of this rank
  GpuArray<float> sent_, received_;  // [rows, tokens], rank by rank; none of one rank
  GpuArray<float> whole_;            // [rows, vocabulary]

  // Of the step:
  std::int32_t rows_ = 0;
  const kernels::cuda::RowPiece* taken_ = nullptr;   // [rows_], to sent_, or whole_ of one rank
  const kernels::cuda::RowPiece* joined_ = nullptr;  // from received_ to whole_
  std::int32_t num_joined_ = 0;
};

}  // namespace lockstep::shard

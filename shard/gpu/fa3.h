// Attention by FA3 in the forward pass of a GPU: the plan of a step goes up with the step, and each
// layer launches it, for prompts and for decoding.
#pragma once

#include <cstdint>
#include <optional>
#include <span>

#include "kernels/cuda/fa3_attention.h"
#include "kernels/cuda/gpu.h"
#include "shard/gpu/step_upload.h"

namespace lockstep::shard {

class Fa3Attention {
 public:
  Fa3Attention(kernels::cuda::Gpu& gpu, std::int32_t query_heads)
      : gpu_(gpu), query_heads_(query_heads) {}

  // The most that plan() adds to the upload of a step of so many rows of so many sequences.
  static std::size_t upload_bytes(std::int32_t max_rows, std::int32_t max_sequences);

  // Plans rows that all have a place, those of padding too. `decodes`: each row is a tile, so that
  // the size of the plan and the launches of run() follow from the number of rows alone.
  void plan(std::span<const kernels::cuda::RowPlace> places, bool decodes,
            const kernels::cuda::BlockTables& tables, std::int32_t block_size,
            std::int32_t sequences, StepUpload& upload);

  // One layer's attention of the planned rows. `cache` holds finite numbers everywhere.
  void run(const std::uint16_t* q, const kernels::cuda::PagedCache& cache, std::uint16_t* out);

 private:
  kernels::cuda::Gpu& gpu_;
  const std::int32_t query_heads_;

  // Of the step:
  std::int32_t rows_ = 0;
  const std::int32_t* blocks_ = nullptr;
  const std::byte* plan_ = nullptr;
  std::optional<kernels::cuda::Fa3Layout> layout_;
};

}  // namespace lockstep::shard

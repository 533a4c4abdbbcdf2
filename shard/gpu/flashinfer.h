// Attention by FlashInfer's kernel in the forward pass of a GPU: the plan of a step goes up with
// the step, and each layer launches it.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "kernels/cuda/flashinfer_attention.h"
#include "kernels/cuda/gpu.h"
#include "shard/gpu/array.h"
#include "shard/gpu/step_upload.h"
#include "shard/model_runner.h"

namespace lockstep::shard {

class FlashInferAttention {
 public:
  struct Sizes {
    std::int32_t group;        // query heads per key-value head, the same for all
    std::int32_t query_heads;  // of this rank
    std::int32_t head_dim;
    std::int32_t block_size;
    std::int32_t max_rows;
    std::int32_t max_sequences;
    std::int32_t max_positions;
  };

  FlashInferAttention(kernels::cuda::Gpu& gpu, const Sizes& sizes);

  // What it takes of the device, and the most that plan() adds to a step's upload.
  static std::size_t device_bytes(const Sizes& sizes);
  static std::size_t upload_bytes(const Sizes& sizes);

  // Blocks that a recorded step of `rows` rows, of one token of each sequence and padding, has.
  std::int32_t items_of_decoding(std::int32_t rows, std::span<const ForwardSequence> batch) const;

  // Plans `rows` rows: those with a place, then padding, whose output is zeros. `items`:
  // items_of_decoding() of a step that is or will be recorded, 0 for any other. The size of the
  // plan and the launches of run() follow from `rows` and `items` alone where the latter is not 0.
  void plan(std::span<const kernels::cuda::RowPlace> places, std::int32_t rows,
            const kernels::cuda::BlockTables& tables, std::int32_t sequences, std::int32_t items,
            StepUpload& upload);

  // One layer's attention of the planned rows. `cache` holds finite numbers everywhere.
  void run(const std::uint16_t* q, const kernels::cuda::PagedCache& cache, std::uint16_t* out);

 private:
  kernels::cuda::Gpu& gpu_;
  const Sizes sizes_;
  const std::int64_t parts_;  // room
  GpuArray<float> values_, weights_;

  // Of the step:
  const std::int32_t* blocks_ = nullptr;
  const std::byte* plan_ = nullptr;
  std::optional<kernels::cuda::FlashInferLayout> layout_;
  std::vector<kernels::cuda::FlashInferWave> waves_;
  std::optional<kernels::cuda::FlashInferGrid> padded_;
};

}  // namespace lockstep::shard

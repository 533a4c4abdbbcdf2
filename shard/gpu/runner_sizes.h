// What the forward pass of a GPU allocates, told from the model's sizes alone: its constructor and
// plans of memory read the same numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/attention_backend.h"
#include "kernels/cuda/paged_cache.h"
#include "kernels/cuda/sum_plan.h"
#include "model/config.h"
#include "shard/gpu/flashinfer.h"
#include "shard/gpu/lane_reduce.h"
#include "shard/model_runner.h"
#include "shard/partition.h"

namespace lockstep::shard {

struct GpuRunnerOptions {
  kernels::cuda::CacheFormat kv_format = kernels::cuda::CacheFormat::bf16;
  std::int32_t block_size = 16;
  std::int32_t max_batch_tokens = 512;  // tokens of all sequences of a step
  std::int32_t max_sequences = 64;      // of a step
  std::int32_t max_positions = 0;       // longest sequence
  std::int64_t gather_below = 4 << 20;  // ReduceOptions
  // The kernel that attends; not automatic.
  kernels::cuda::AttentionBackend attention = kernels::cuda::AttentionBackend::own;
  // Bytes of the matrix that is multiplied next, asked for into the GPU's second cache.
  std::int64_t weights_ahead = 32 << 20;
  bool warpgroups = false;              // multiply many rows, where they are own products
  std::string product_algorithms = {};  // a file (gpu.h) for products of plain weights; "": none
  // Of decoding steps; 0: none are made. The steps of further shapes run without.
  std::int32_t max_recordings = 64;
  std::size_t sampling_bytes =
      0;  // room for what else a step uploads: GpuLlamaRunner::step_upload()
};

// Decoding steps are padded to multiples of so many rows (padded_rows()).
inline constexpr std::int32_t kPaddingStep = 8;

// The first query head of each key-value head of a rank, and the end.
std::vector<std::int32_t> first_queries(const model::ModelConfig& config, const Partition& part);

// Throws Error naming what of a model no GPU computes: heads with norms of an odd width.
void require_gpu_serves(const model::ModelConfig& config);

// Query heads of every key-value head of each of `world_size` ranks; 0 where they differ.
std::int32_t common_group(const model::ModelConfig& config, int world_size);

// The tokens of each of the ranks with these parts.
std::vector<VocabRange> vocab_ranges(const std::vector<Partition>& parts);

// Bytes that one block of the KV cache takes on a rank with this part, all of its layers together.
std::size_t gpu_kv_block_bytes(const model::ModelConfig& config, const Partition& part,
                               kernels::cuda::CacheFormat format, std::int32_t block_size);

// Elements of the buffers of rank `rank`, whose meaning GpuLlamaRunner's members say, and what its
// parts are made with. Weights and KV cache are not among them.
struct GpuRunnerSizes {
  // `parts`: of all ranks that share the layers. `gates_apart`: not all layers activate
  // (GpuLayerWeights). Throws Error as require_gpu_serves() does, and for FlashInfer and FA3 with
  // key-value heads of unequal numbers of query heads.
  GpuRunnerSizes(const model::ModelConfig& config, const std::vector<Partition>& parts, int rank,
                 const GpuRunnerOptions& options, bool gates_apart);

  // All of them, in bytes of the device.
  std::size_t device_bytes(const comm::ExchangeMemory& exchange) const;

  int rank;
  std::int64_t query_columns, kv_columns, inner_columns, logits_stride;

  std::vector<SegmentTree> trees;  // of the embedding, of attention, of the MLP
  ReduceOptions reduce;
  kernels::cuda::HostSumPlan hidden_plan, attention_plan, mlp_plan;
  std::vector<kernels::cuda::HeadRun> runs;
  std::optional<FlashInferAttention::Sizes> flashinfer;  // none: another kernel attends

  std::int64_t hidden, normed, qkv, queries, attended, attention_chunks, gate_up, inner, last,
      logits, sampled;
  std::int64_t downloaded;    // floats of the host
  std::int64_t angles;        // of cosines, and of sines
  std::size_t upload;         // bytes of a step's
  std::int64_t stage_values;  // floats of the residual stream
};

}  // namespace lockstep::shard

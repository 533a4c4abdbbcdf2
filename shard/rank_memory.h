// What one rank needs, in bytes, told from the model's sizes alone: nothing is loaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "comm/gpu_exchange.h"
#include "kernels/cuda/attention_backend.h"
#include "kernels/cuda/paged_cache.h"
#include "kernels/kv_format.h"
#include "model/config.h"
#include "model/tensor_source.h"
#include "shard/partition.h"

namespace lockstep::shard {

enum class Device { cpu, cuda };

// How a device keeps the values of a weight matrix.
//   q4, q4_0, q8: groups of 32 columns. q4: nibbles, a scale and a minimum in f16, so 5 bits a
//           weight; q4_0: nibbles that count from -8 and a scale, so 4.5 bits, which CUDA keeps as
//           q4; q8: bytes and a scale in f16, so 8.5 bits.
//   fp8, int8: a byte a weight, and for each row a scale in f32. The CPU keeps fp8 with a scale in
//           f32 for every group of a row, so 9 bits, and int8 as q8.
//   fp8_block: the same for blocks of a matrix. CUDA keeps a scale for every group of 16 rows.
// The CPU keeps rows in blocks of 16 (kernels/packed_matrix.h), CUDA in tiles of 8, 16 or 32
// (kernels/cuda/weight_tiles.h), with bf16 in the place of f32 and f16.
enum class MatrixFormat { f32, f16, bf16, q8, q4, q4_0, fp8, fp8_block, int8 };

// What `tensor` is kept as. Throws Error when it is not one of weights.
MatrixFormat matrix_format(const model::Tensor& tensor);

std::size_t matrix_bytes(Device device, MatrixFormat format, std::int64_t rows,
                         std::int64_t columns);

// A model as far as its size goes.
struct ModelShape {
  model::ModelConfig config;
  // The format of the matrix of that name, e.g. "model.layers.0.mlp.up_proj.weight".
  std::function<MatrixFormat(const std::string& name)> format;
};

// The sizes of a replica.
struct StepSizes {
  kernels::KvFormat kv_format = kernels::KvFormat::bf16;  // on CPUs
  std::int32_t block_size = 16;
  std::int32_t max_batch_tokens = 512;
  std::int32_t max_sequences = 64;  // on GPUs: they draw one token of each
  std::int32_t max_logits = 64;     // on CPUs: tokens of a step that want logits
  std::int32_t max_positions = 0;
  std::int64_t threads = 1;  // of a rank; on CPUs
  bool shared_sums = false;  // ranks sum activations in shared memory; on CPUs
  kernels::cuda::CacheFormat gpu_cache = kernels::cuda::CacheFormat::bf16;
  // On GPUs, of a build that has FlashInfer.
  kernels::cuda::AttentionBackend gpu_attention = kernels::cuda::AttentionBackend::automatic;
  comm::ExchangeMemory gpu_exchange = {};
};

struct RankMemory {
  std::size_t weights = 0;  // Weights::bytes(), GpuWeights::bytes()
  // LlamaRunner::activation_bytes().own. On a GPU all else that is allocated of the device, by
  // GpuLlamaRunner and GpuTokenChoice, and the one block of the cache that plans do not know.
  std::size_t activations = 0;
  std::size_t shared = 0;    // LlamaRunner::activation_bytes().shared: of all ranks of the host
  std::size_t kv_block = 0;  // KvCache::block_bytes(), gpu_kv_block_bytes()
};

// The ranks of a replica: `pipeline` runs of layers (pipeline_stages()), each split over
// `tensor_parallel` ranks. The first run has the embedding, the last one the output head; a tied
// one lies on both. Rank t of run s is element s * tensor_parallel + t. Throws Error naming the
// limit when the model cannot be split so; on GPUs also where attention does not serve the split.
std::vector<RankMemory> rank_memory(const ModelShape& shape, Device device, int tensor_parallel,
                                    int pipeline, const StepSizes& sizes);

}  // namespace lockstep::shard

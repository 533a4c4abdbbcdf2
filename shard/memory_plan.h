// Whether a model fits into the memory of its ranks, and what would.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "shard/rank_memory.h"

namespace lockstep::shard {

inline constexpr std::size_t kMiB = std::size_t{1} << 20;

// What a CUDA rank takes beside weights, buffers and cache. From the libraries' documents where
// they say it, else estimates on the large side: not one of them has been measured with this
// program.
struct CudaReserve {
  // Driver context and loaded kernels; an estimate.
  static constexpr std::size_t kContext = 512 * kMiB;
  // Captured graphs of all padded batch sizes; an estimate.
  static constexpr std::size_t kGraphs = 512 * kMiB;
  // NCCL, where there are several ranks: NCCL_BUFFSIZE (4 MiB) in two directions for up to 32
  // channels, and as much again for its other protocols; an estimate.
  static constexpr std::size_t kNccl = 512 * kMiB;
};
std::size_t cuda_reserve(int ranks);

// Of each rank.
struct MemoryLimits {
  Device device = Device::cpu;
  std::size_t memory = 0;   // that it may use
  std::size_t reserve = 0;  // of it, for what is neither weights nor buffers nor cache
};
// The limits of a replica of that many ranks: ranks of one host divide its memory.
using LimitsOf = std::function<MemoryLimits(int ranks)>;

// How the rank that holds the fewest blocks uses its memory.
struct MemoryPlan {
  int tensor_parallel = 1;
  int pipeline = 1;
  MemoryLimits limits;
  std::size_t weights = 0;
  std::size_t activations = 0;  // with its share of what the ranks of a host share
  std::size_t kv_block = 0;
  std::int32_t block_size = 0;
  std::int64_t blocks_per_sequence = 0;  // of max_positions
  std::int64_t kv_cache = 0;             // bytes left for the cache; negative: so many are missing
  std::int64_t kv_blocks = 0;            // whole blocks in them

  std::size_t one_sequence() const {
    return static_cast<std::size_t>(blocks_per_sequence) * kv_block;
  }
  std::int64_t kv_tokens() const { return kv_blocks * block_size; }
  std::int64_t sequences() const { return kv_blocks / blocks_per_sequence; }
  // One sequence of max_positions must have room: the cache can serve any request then.
  bool fits() const { return kv_blocks >= blocks_per_sequence; }
  std::size_t needed() const { return weights + activations + limits.reserve + one_sequence(); }
  // How much of the memory is left beside what is needed; negative: so much is missing.
  std::int64_t margin() const {
    return static_cast<std::int64_t>(limits.memory) - static_cast<std::int64_t>(needed());
  }
};

// REQUIRES: sizes.max_positions > 0. Throws Error naming the limit when the model cannot be split
// so.
MemoryPlan plan_memory(const ModelShape& shape, int tensor_parallel, int pipeline,
                       const MemoryLimits& limits, const StepSizes& sizes);

// A model whose layers' matrices are all in `format`. Embedding and output head stay in bf16 where
// it is a quantized one, as in published checkpoints (GPTQ, AWQ and FP8 all leave them out).
ModelShape in_format(const ModelShape& shape, MatrixFormat format);

// The smallest tensor parallelism from `least` on that fits; nothing where none does.
std::optional<int> smallest_split(const ModelShape& shape, int least, int pipeline,
                                  const LimitsOf& limits, const StepSizes& sizes);

// The widest format smaller than the model's in which `plan`'s split fits; nothing where none does.
std::optional<MatrixFormat> narrower_weights(const ModelShape& shape, const MemoryPlan& plan,
                                             const StepSizes& sizes);

// What would fit where `plan` does not; each is empty where nothing does.
struct Suggestions {
  std::optional<int> tensor_parallel;         // the smallest larger one, at these formats
  std::optional<MatrixFormat> weights;        // the widest smaller one, at this split
  std::optional<std::int32_t> max_model_len;  // the longest shorter one, a multiple of the block
};
Suggestions suggest(const ModelShape& shape, const MemoryPlan& plan, const LimitsOf& limits,
                    const StepSizes& sizes);

}  // namespace lockstep::shard

#include "shard/memory_plan.h"

#include <algorithm>
#include <utility>

#include "kernels/packed_matrix.h"
#include "shard/gpu/rank_memory.h"

namespace lockstep::shard {
namespace {

// Rounds down, also below zero.
std::int64_t whole_blocks(std::int64_t bytes, std::size_t block) {
  const auto size = static_cast<std::int64_t>(block);
  return bytes >= 0 ? bytes / size : -((size - 1 - bytes) / size);
}

MemoryPlan plan_rank(const RankMemory& rank, std::size_t ranks, const MemoryLimits& limits,
                     const StepSizes& sizes) {
  MemoryPlan plan;
  plan.limits = limits;
  plan.weights = rank.weights;
  plan.activations = rank.activations + (rank.shared + ranks - 1) / ranks;
  plan.kv_block = rank.kv_block;
  plan.block_size = sizes.block_size;
  plan.blocks_per_sequence = (sizes.max_positions + sizes.block_size - 1) / sizes.block_size;
  plan.kv_cache = static_cast<std::int64_t>(limits.memory) -
                  static_cast<std::int64_t>(plan.weights + plan.activations + limits.reserve);
  plan.kv_blocks = whole_blocks(plan.kv_cache, plan.kv_block);
  return plan;
}

// Among how many ranks of a stage this model can be split at most.
int most_ranks(const model::ModelConfig& config) {
  const std::int64_t vocabulary_blocks =
      (config.vocab_size + kernels::kRowBlock - 1) / kernels::kRowBlock;
  return static_cast<int>(std::min<std::int64_t>(config.num_attention_heads, vocabulary_blocks));
}

// The weights of a whole model in one rank: how wide formats are compared.
std::size_t whole_weights(const ModelShape& shape, Device device, const StepSizes& sizes) {
  return rank_memory(shape, device, 1, 1, sizes).front().weights;
}

}  // namespace

std::size_t cuda_reserve(int ranks) {
  return CudaReserve::kContext + CudaReserve::kGraphs + (ranks > 1 ? CudaReserve::kNccl : 0);
}

MemoryPlan plan_memory(const ModelShape& shape, int tensor_parallel, int pipeline,
                       const MemoryLimits& limits, const StepSizes& sizes) {
  const auto ranks = rank_memory(shape, limits.device, tensor_parallel, pipeline, sizes);
  std::vector<MemoryPlan> plans;
  for (const RankMemory& rank : ranks) {
    plans.push_back(plan_rank(rank, ranks.size(), limits, sizes));
  }
  MemoryPlan tightest = *std::ranges::min_element(
      plans, {}, [](const MemoryPlan& plan) { return std::pair(plan.kv_blocks, plan.kv_cache); });
  tightest.tensor_parallel = tensor_parallel;
  tightest.pipeline = pipeline;
  return tightest;
}

ModelShape in_format(const ModelShape& shape, MatrixFormat format) {
  const bool plain =
      format == MatrixFormat::f32 || format == MatrixFormat::f16 || format == MatrixFormat::bf16;
  ModelShape changed = shape;
  changed.format = [format,
                    outside = plain ? format : MatrixFormat::bf16](const std::string& name) {
    return name.starts_with("model.layers.") ? format : outside;
  };
  return changed;
}

std::optional<int> smallest_split(const ModelShape& shape, int least, int pipeline,
                                  const LimitsOf& limits, const StepSizes& sizes) {
  for (int ranks = least; ranks <= most_ranks(shape.config); ++ranks) {
    const MemoryLimits of_rank = limits(ranks * pipeline);
    if (of_rank.device == Device::cuda && !gpu_attends(shape.config, ranks, sizes)) continue;
    if (plan_memory(shape, ranks, pipeline, of_rank, sizes).fits()) return ranks;
  }
  return std::nullopt;
}

std::optional<MatrixFormat> narrower_weights(const ModelShape& shape, const MemoryPlan& plan,
                                             const StepSizes& sizes) {
  const Device device = plan.limits.device;
  const std::size_t now = whole_weights(shape, device, sizes);
  for (const MatrixFormat format :
       {MatrixFormat::bf16, MatrixFormat::fp8, MatrixFormat::int8, MatrixFormat::q4}) {
    const ModelShape other = in_format(shape, format);
    if (whole_weights(other, device, sizes) >= now) continue;
    if (plan_memory(other, plan.tensor_parallel, plan.pipeline, plan.limits, sizes).fits()) {
      return format;
    }
  }
  return std::nullopt;
}

Suggestions suggest(const ModelShape& shape, const MemoryPlan& plan, const LimitsOf& limits,
                    const StepSizes& sizes) {
  Suggestions suggestions;
  suggestions.tensor_parallel =
      smallest_split(shape, plan.tensor_parallel + 1, plan.pipeline, limits, sizes);
  suggestions.weights = narrower_weights(shape, plan, sizes);
  // Shorter sequences also take smaller tables: this much fits in any case.
  if (plan.kv_blocks > 0 && !plan.fits()) {
    suggestions.max_model_len = static_cast<std::int32_t>(plan.kv_tokens());
  }
  return suggestions;
}

}  // namespace lockstep::shard

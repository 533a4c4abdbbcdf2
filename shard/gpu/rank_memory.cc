#include "shard/gpu/rank_memory.h"

#include <algorithm>

#include "kernels/cuda/attention_backend.h"
#include "shard/gpu/load_plan.h"

namespace lockstep::shard {
namespace {

using namespace kernels::cuda;

// Sums up what load_gpu_weights() loads.
class WeightCounter {
 public:
  explicit WeightCounter(const ModelShape& shape) : shape_(shape) {}

  bool alike(const std::vector<MatrixPart>& parts) const {
    return std::ranges::all_of(
        parts, [&](const MatrixPart& part) { return format_of(part) == format_of(parts[0]); });
  }

  std::size_t count(const RankParts& parts, const Partition& part) {
    const auto hidden = static_cast<std::size_t>(shape_.config.hidden_size);
    if (parts.embedding) matrix(*parts.embedding, TileFormat::bf16);
    if (parts.head) matrix(*parts.head, format_of(*parts.head));
    if (parts.final_norm) vector(hidden);
    for (const LayerParts& layer : parts.layers) {
      vector(2 * hidden);  // both norms
      const model::ModelConfig& config = shape_.config;
      if (config.attention_bias) {
        const std::int64_t heads = part.query_heads.size() + 2 * part.key_value_heads.size();
        vector(static_cast<std::size_t>(heads * config.head_dim));
      }
      if (config.head_norms) vector(static_cast<std::size_t>(2 * config.head_dim));
      matrices(layer.qkv);
      matrices(layer.gate_up);
      matrices({layer.o});
      matrices({layer.down});
    }
    return total_;
  }

 private:
  TileFormat format_of(const MatrixPart& part) const {
    return gpu_format(shape_.format(part.tensor));
  }
  // One where their formats are the same.
  void matrices(const std::vector<MatrixPart>& parts) {
    const TileFormat format = format_of(parts[0]);
    if (!alike(parts)) {
      for (const MatrixPart& part : parts) matrix(part, format_of(part));
      return;
    }
    std::int64_t rows = 0;
    for (const MatrixPart& part : parts) rows += part.rows.size();
    total_ += bytes_of_matrix(format, rows, parts[0].columns.size());
  }
  void matrix(const MatrixPart& part, TileFormat format) {
    total_ += bytes_of_matrix(format, part.rows.size(), part.columns.size());
  }
  void vector(std::size_t values) { total_ += values * sizeof(float); }

  const ModelShape& shape_;
  std::size_t total_ = 0;
};

AttentionNeeds attention_needs(const model::ModelConfig& config, std::int32_t group,
                               const StepSizes& sizes) {
  return {.head_dim = static_cast<std::int32_t>(config.head_dim),
          .key_value_heads = static_cast<std::int32_t>(config.num_key_value_heads),
          .model_group =
              static_cast<std::int32_t>(config.num_attention_heads / config.num_key_value_heads),
          .format = sizes.gpu_cache,
          .group = group,
          .flashinfer_built_in = true,
          .fa3_there = true,
          .biases = config.attention_bias};
}

}  // namespace

TileFormat gpu_format(MatrixFormat format) {
  switch (format) {
    case MatrixFormat::q4:
    case MatrixFormat::q4_0: return TileFormat::int4_group;
    case MatrixFormat::fp8: return TileFormat::e4m3_channel;
    case MatrixFormat::fp8_block: return TileFormat::e4m3_block;
    case MatrixFormat::int8: return TileFormat::int8_channel;
    case MatrixFormat::q8: return TileFormat::int8_group;
    case MatrixFormat::f32:
    case MatrixFormat::f16:
    case MatrixFormat::bf16: break;
  }
  return TileFormat::bf16;
}

GpuChoiceOptions gpu_choice_options(const StepSizes& sizes) {
  return {.max_sequences = sizes.max_sequences};
}

GpuRunnerOptions gpu_options(const model::ModelConfig& config, int ranks, const StepSizes& sizes,
                             bool chooses) {
  const AttentionChoice attention = choose_attention(
      sizes.gpu_attention, attention_needs(config, common_group(config, ranks), sizes));
  return {.kv_format = sizes.gpu_cache,
          .block_size = sizes.block_size,
          .max_batch_tokens = sizes.max_batch_tokens,
          .max_sequences = sizes.max_sequences,
          .max_positions = sizes.max_positions,
          .attention = attention.backend,
          .sampling_bytes =
              chooses ? GpuTokenChoice::upload_bytes(gpu_choice_options(sizes), ranks) : 0};
}

bool gpu_attends(const model::ModelConfig& config, int ranks, const StepSizes& sizes) {
  if (common_group(config, ranks) > 0) return true;
  // The number of ranks has no say in which kernel is chosen.
  const auto whole = common_group(config, 1);
  return choose_attention(sizes.gpu_attention, attention_needs(config, whole, sizes)).backend ==
         AttentionBackend::own;
}

RankMemory gpu_rank_memory(const ModelShape& shape, const std::vector<Partition>& parts, int rank,
                           const StepSizes& sizes) {
  const model::ModelConfig& config = shape.config;
  const Partition& part = parts[static_cast<std::size_t>(rank)];
  const int ranks = static_cast<int>(parts.size());
  const bool chooses = part.has_head(config);
  const RankParts kept = rank_parts(config, part);
  WeightCounter weights(shape);
  const bool gates_apart = !std::ranges::all_of(
      kept.layers, [&](const LayerParts& layer) { return weights.alike(layer.gate_up); });
  const GpuRunnerSizes runner(config, parts, rank, gpu_options(config, ranks, sizes, chooses),
                              gates_apart);
  RankMemory memory;
  memory.weights = weights.count(kept, part);
  memory.kv_block = gpu_kv_block_bytes(config, part, sizes.gpu_cache, sizes.block_size);
  memory.activations =
      runner.device_bytes(sizes.gpu_exchange) + memory.kv_block;  // the block of padding rows
  if (chooses) {
    memory.activations += GpuTokenChoice::device_bytes(
        gpu_choice_options(sizes), vocab_ranges(parts), rank, sizes.gpu_exchange);
  }
  return memory;
}

}  // namespace lockstep::shard

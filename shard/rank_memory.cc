#include "shard/rank_memory.h"

#include <span>

#include "base/error.h"
#include "kernels/packed_matrix.h"
#include "shard/activations.h"
#include "shard/attention.h"
#include "shard/gpu/rank_memory.h"
#include "shard/kv_cache.h"
#include "shard/lane_programs.h"
#include "shard/lane_reduce.h"
#include "shard/rope_table.h"

namespace lockstep::shard {
namespace {

using kernels::PackedFormat;

std::size_t size(std::int64_t value) { return static_cast<std::size_t>(value); }

PackedFormat packed(MatrixFormat format) {
  switch (format) {
    case MatrixFormat::f32: return PackedFormat::f32;
    case MatrixFormat::f16: return PackedFormat::f16;
    case MatrixFormat::bf16: return PackedFormat::bf16;
    case MatrixFormat::int8:
    case MatrixFormat::q8: return PackedFormat::q8;
    case MatrixFormat::q4: return PackedFormat::q4;
    case MatrixFormat::q4_0: return PackedFormat::q4_0;
    case MatrixFormat::fp8:
    case MatrixFormat::fp8_block: break;
  }
  return PackedFormat::f8;
}

std::size_t packed_bytes(MatrixFormat format, std::int64_t rows, std::int64_t columns) {
  const std::int64_t blocks = (rows + kernels::kRowBlock - 1) / kernels::kRowBlock;
  return size(blocks * (columns / kernels::kGroup)) * kernels::packed_group_bytes(packed(format));
}

// Where a rank stands in the pipeline.
struct Stage {
  Range layers;
  bool embeds;
  bool has_head;
};

Stage stage_of(const model::ModelConfig& config, int stage, int pipeline) {
  return {.layers = pipeline_stages(config, pipeline)[static_cast<std::size_t>(stage)],
          .embeds = stage == 0,
          .has_head = stage + 1 == pipeline};
}

// Sums up what shard/weights.cc loads.
class WeightCounter {
 public:
  WeightCounter(const ModelShape& shape, const Partition& part)
      : shape_(shape), config_(shape.config), part_(part) {}

  std::size_t count(const Stage& stage) {
    const std::int64_t vocabulary = part_.vocabulary.size();
    if (stage.embeds) matrix("model.embed_tokens.weight", vocabulary, config_.hidden_size);
    if (stage.has_head) {
      vector(config_.hidden_size);
      if (!config_.tie_word_embeddings) {
        matrix("lm_head.weight", vocabulary, config_.hidden_size);
      } else if (!stage.embeds) {
        matrix("model.embed_tokens.weight", vocabulary, config_.hidden_size);
      }
    }
    for (std::int32_t i = stage.layers.begin; i < stage.layers.end; ++i) layer(i);
    return total_;
  }

 private:
  void layer(std::int32_t index) {
    const std::string scope = "model.layers." + std::to_string(index) + ".";
    const std::int64_t hidden = config_.hidden_size;
    const std::int64_t q = part_.query_heads.size() * config_.head_dim;
    const std::int64_t kv = part_.key_value_heads.size() * config_.head_dim;
    const std::int64_t inner = inner_columns(config_, part_);
    vector(2 * hidden);  // both norms
    if (config_.attention_bias) vector(q + 2 * kv);
    if (config_.head_norms) vector(2 * config_.head_dim);
    matrix(scope + "self_attn.q_proj.weight", q, hidden);
    matrix(scope + "self_attn.k_proj.weight", kv, hidden);
    matrix(scope + "self_attn.v_proj.weight", kv, hidden);
    matrix(scope + "self_attn.o_proj.weight", hidden, q);
    matrix(scope + "mlp.gate_proj.weight", inner, hidden);
    matrix(scope + "mlp.up_proj.weight", inner, hidden);
    matrix(scope + "mlp.down_proj.weight", hidden, inner);
  }
  void matrix(const std::string& name, std::int64_t rows, std::int64_t columns) {
    total_ += packed_bytes(shape_.format(name), rows, columns);
  }
  void vector(std::int64_t values) { total_ += size(values) * sizeof(float); }

  const ModelShape& shape_;
  const model::ModelConfig& config_;
  const Partition& part_;
  std::size_t total_ = 0;
};

// Sums up what LlamaRunner allocates beside weights and cache.
ReducerMemory activations(const model::ModelConfig& config, std::span<const Partition> parts,
                          int rank, const StepSizes& sizes) {
  const Partition& part = parts[static_cast<std::size_t>(rank)];
  const std::int64_t rows = sizes.max_batch_tokens, hidden = config.hidden_size;
  const std::int64_t attended = part.query_heads.size() * config.head_dim;
  ReducerMemory total;
  for (const std::int64_t columns :
       {hidden, hidden, qkv_columns(config, part), attended, inner_columns(config, part)}) {
    total.own += Activations::bytes(rows, columns);
  }
  total.own += Activations::bytes(sizes.max_logits, hidden);
  const std::int64_t row_blocks =
      (part.vocabulary.size() + kernels::kRowBlock - 1) / kernels::kRowBlock;
  total.own += size(sizes.max_logits * row_blocks * kernels::kRowBlock) * sizeof(float);
  if (parts.size() > 1) total.own += size(rows * hidden) * sizeof(float);  // embeddings of all
  total.own += RopeTable::bytes(config, sizes.max_positions);
  total.own += Attention::bytes(config, part, sizes.max_positions, sizes.threads);
  const auto count = [&](const LaneTree& tree, Range Partition::*lanes) {
    const ReducerMemory reducer =
        LaneReducer::memory(tree, lane_runs(parts, lanes), rank, rows * hidden, sizes.shared_sums);
    total.own += reducer.own;
    total.shared += reducer.shared;
  };
  const LaneTrees trees = lane_trees(config);
  count(trees.attention, &Partition::query_heads);
  count(trees.mlp, &Partition::mlp_lanes);
  return total;
}

}  // namespace

MatrixFormat matrix_format(const model::Tensor& tensor) {
  switch (kernels::packed_format(tensor.dtype)) {
    case PackedFormat::q4: return MatrixFormat::q4;
    case PackedFormat::q4_0: return MatrixFormat::q4_0;
    case PackedFormat::q8:
      return tensor.dtype == kernels::DType::i8 || (tensor.dtype == kernels::DType::u8 &&
                                                    tensor.scale_columns >= tensor.columns())
                 ? MatrixFormat::int8
                 : MatrixFormat::q8;
    case PackedFormat::f8:
      return tensor.scale_columns < tensor.columns() ? MatrixFormat::fp8_block : MatrixFormat::fp8;
    case PackedFormat::bf16: return MatrixFormat::bf16;
    case PackedFormat::f16: return MatrixFormat::f16;
    case PackedFormat::f32: break;
  }
  return MatrixFormat::f32;
}

std::size_t matrix_bytes(Device device, MatrixFormat format, std::int64_t rows,
                         std::int64_t columns) {
  if (device == Device::cpu) return packed_bytes(format, rows, columns);
  return kernels::cuda::bytes_of_matrix(gpu_format(format), rows, columns);
}

std::vector<RankMemory> rank_memory(const ModelShape& shape, Device device, int tensor_parallel,
                                    int pipeline, const StepSizes& sizes) {
  const model::ModelConfig& config = shape.config;
  if (pipeline < 1 || pipeline > config.num_hidden_layers) {
    throw Error("pp is " + std::to_string(pipeline) + ": this model can be cut in 1 to " +
                std::to_string(config.num_hidden_layers) + " runs of layers (num_hidden_layers)");
  }
  std::vector<RankMemory> ranks;
  for (int s = 0; s < pipeline; ++s) {
    const Stage stage = stage_of(config, s, pipeline);
    const auto parts = partition_model(config, tensor_parallel, stage.layers);
    for (int rank = 0; rank < tensor_parallel; ++rank) {
      if (device == Device::cuda) {
        ranks.push_back(gpu_rank_memory(shape, parts, rank, sizes));
        continue;
      }
      const Partition& part = parts[static_cast<std::size_t>(rank)];
      const ReducerMemory buffers = activations(config, parts, rank, sizes);
      ranks.push_back(
          {.weights = WeightCounter(shape, part).count(stage),
           .activations = buffers.own,
           .shared = buffers.shared,
           .kv_block = KvCache::block_bytes(config, part, sizes.kv_format, sizes.block_size)});
    }
  }
  return ranks;
}

}  // namespace lockstep::shard

#include "shard/partition.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "base/error.h"
#include "kernels/lanes.h"
#include "kernels/packed_matrix.h"

namespace lockstep::shard {
namespace {

std::int32_t narrow(std::int64_t value) { return static_cast<std::int32_t>(value); }

// The part r of n when [0, total) is cut in n nearly equal runs.
Range cut(std::int64_t total, std::int64_t r, std::int64_t n) {
  return {narrow(total * r / n), narrow(total * (r + 1) / n)};
}

void check_multiple(const char* field, std::int64_t value) {
  if (value % kernels::kGroup != 0) {
    throw Error(std::string(field) + " is " + std::to_string(value) +
                ": it must be a multiple of " + std::to_string(kernels::kGroup));
  }
}

// Gives every rank the MLP lanes that even out the weights it reads in a step.
void share_mlp_lanes(const model::ModelConfig& config, std::vector<Partition>& parts) {
  const std::int64_t lanes = config.num_attention_heads;
  const auto ranks = static_cast<std::int64_t>(parts.size());
  const auto attention = [&](const Partition& part) {
    return 2.0 * static_cast<double>(config.head_dim) *
           (part.query_heads.size() + part.key_value_heads.size());
  };
  const double lane =
      3.0 * static_cast<double>(config.intermediate_size) / static_cast<double>(lanes);
  double total = lane * static_cast<double>(lanes);
  for (const Partition& part : parts) total += attention(part);
  double ideal_end = 0;
  std::int32_t begin = 0;
  for (std::int64_t r = 0; r < ranks; ++r) {
    Partition& part = parts[static_cast<std::size_t>(r)];
    ideal_end += (total / static_cast<double>(ranks) - attention(part)) / lane;
    // Every rank has a lane, and leaves one for each that follows.
    const auto end =
        std::clamp<std::int64_t>(std::llround(ideal_end), begin + 1, lanes - (ranks - 1 - r));
    part.mlp_lanes = {begin, r + 1 == ranks ? narrow(lanes) : narrow(end)};
    begin = part.mlp_lanes.end;
  }
}

// Heads and MLP lanes of each rank.
std::vector<Partition> share_lanes(const model::ModelConfig& config, std::int64_t world_size) {
  const std::int64_t kv_heads = config.num_key_value_heads;
  const std::int64_t shared = config.num_attention_heads / kv_heads;
  std::vector<Partition> parts(static_cast<std::size_t>(world_size));
  for (std::int64_t rank = 0; rank < world_size; ++rank) {
    Partition& part = parts[static_cast<std::size_t>(rank)];
    if (world_size <= kv_heads) {
      part.key_value_heads = cut(kv_heads, rank, world_size);
      part.query_heads = {part.key_value_heads.begin * narrow(shared),
                          part.key_value_heads.end * narrow(shared)};
    } else {
      part.query_heads = cut(config.num_attention_heads, rank, world_size);
      part.key_value_heads = {narrow(part.query_heads.begin / shared),
                              narrow((part.query_heads.end - 1) / shared + 1)};
    }
  }
  share_mlp_lanes(config, parts);
  return parts;
}

}  // namespace

Range Partition::queries_of(std::int32_t kv, const model::ModelConfig& config) const {
  const std::int32_t shared = narrow(config.num_attention_heads / config.num_key_value_heads);
  return {std::max(query_heads.begin, kv * shared), std::min(query_heads.end, (kv + 1) * shared)};
}

Range mlp_lane_groups(const model::ModelConfig& config, std::int32_t lane) {
  return cut(config.intermediate_size / kernels::kGroup, lane, config.num_attention_heads);
}

std::int64_t qkv_columns(const model::ModelConfig& config, const Partition& part) {
  return (part.query_heads.size() + std::int64_t{2} * part.key_value_heads.size()) *
         config.head_dim;
}

std::int64_t inner_columns(const model::ModelConfig& config, const Partition& part) {
  return std::int64_t{kernels::kGroup} * (mlp_lane_groups(config, part.mlp_lanes.end - 1).end -
                                          mlp_lane_groups(config, part.mlp_lanes.begin).begin);
}

std::vector<Range> pipeline_stages(const model::ModelConfig& config, int stages) {
  const std::int64_t layers = config.num_hidden_layers;
  if (stages < 1 || stages > layers) {
    throw Error("pipeline stages " + std::to_string(stages) + ": this model can be cut in 1 to " +
                std::to_string(layers) + " stages (num_hidden_layers)");
  }
  if (stages == 1) return {{0, narrow(layers)}};
  const std::int64_t heads = 2 * (config.num_attention_heads + config.num_key_value_heads);
  const auto layer =
      static_cast<double>(heads * config.head_dim + 3 * config.intermediate_size);  // per hidden
  const auto head = static_cast<double>(config.vocab_size);
  const double ideal = (static_cast<double>(layers) * layer + head) / stages;
  // Every stage has a layer.
  const auto of_last =
      std::clamp<std::int64_t>(std::llround((ideal - head) / layer), 1, layers - (stages - 1));
  std::vector<Range> runs;
  for (int stage = 0; stage + 1 < stages; ++stage) {
    runs.push_back(cut(layers - of_last, stage, stages - 1));
  }
  runs.push_back({narrow(layers - of_last), narrow(layers)});
  return runs;
}

std::vector<Partition> partition_model(const model::ModelConfig& config, int world_size) {
  return partition_model(config, world_size, {0, narrow(config.num_hidden_layers)});
}

std::vector<Partition> partition_model(const model::ModelConfig& config, int world_size,
                                       Range layers) {
  const std::int64_t heads = config.num_attention_heads;
  check_multiple("hidden_size", config.hidden_size);
  check_multiple("intermediate_size", config.intermediate_size);
  check_multiple("head_dim", config.head_dim);
  if (world_size < 1 || world_size > heads) {
    throw Error("world size " + std::to_string(world_size) +
                ": this model can be split over 1 to " + std::to_string(heads) +
                " ranks (num_attention_heads)");
  }
  const std::int64_t vocabulary_blocks =
      (config.vocab_size + kernels::kRowBlock - 1) / kernels::kRowBlock;
  if (vocabulary_blocks < world_size) {
    throw Error("vocab_size is " + std::to_string(config.vocab_size) + ": " +
                std::to_string(world_size) + " ranks need at least 16 tokens each");
  }
  std::vector<Partition> parts = share_lanes(config, world_size);
  for (const Partition& part : parts) {
    if (inner_columns(config, part) > 0) continue;
    throw Error("intermediate_size is " + std::to_string(config.intermediate_size) + ": of " +
                std::to_string(world_size) + " ranks one would have none of it");
  }
  for (int rank = 0; rank < world_size; ++rank) {
    Partition& part = parts[static_cast<std::size_t>(rank)];
    part.layers = layers;
    const Range blocks = cut(vocabulary_blocks, rank, world_size);
    part.vocabulary = {narrow(blocks.begin * kernels::kRowBlock),
                       narrow(std::min(blocks.end * kernels::kRowBlock, config.vocab_size))};
  }
  return parts;
}

LaneTrees lane_trees(const model::ModelConfig& config) {
  const std::int64_t lanes = config.num_attention_heads;
  std::vector<std::int64_t> world_sizes;
  if (lanes > 1) world_sizes.push_back(2);
  for (const std::int64_t heads : {config.num_key_value_heads, lanes}) {
    for (std::int64_t n = 2; n <= heads; ++n) {
      if (heads % n == 0) world_sizes.push_back(n);
    }
  }
  // As many ranks as lanes, the last, part everywhere.
  std::vector<std::int32_t> attention(static_cast<std::size_t>(lanes - 1)), mlp(attention);
  for (auto turn = std::ssize(world_sizes); turn-- > 0;) {
    const auto cut_behind = [&](Range run, std::vector<std::int32_t>& turns) {
      if (run.end < lanes) turns[static_cast<std::size_t>(run.end - 1)] = narrow(turn);
    };
    for (const Partition& part : share_lanes(config, world_sizes[static_cast<std::size_t>(turn)])) {
      cut_behind(part.query_heads, attention);
      cut_behind(part.mlp_lanes, mlp);
    }
  }
  LaneTrees trees{LaneTree(std::move(attention)), LaneTree(std::move(mlp))};
  for (const LaneTree* tree : {&trees.attention, &trees.mlp}) {
    if (tree->deepest_stack() <= kernels::kMaxSegments) continue;
    throw Error("num_attention_heads is " + std::to_string(lanes) + ": their sum takes " +
                std::to_string(tree->deepest_stack()) + " partial sums at once, and kernels hold " +
                std::to_string(kernels::kMaxSegments));
  }
  return trees;
}

}  // namespace lockstep::shard

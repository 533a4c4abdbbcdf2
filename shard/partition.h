// Which part of a model each rank holds.
#pragma once

#include <cstdint>
#include <vector>

#include "model/config.h"
#include "shard/lane_tree.h"

namespace lockstep::shard {

// One rank's part. Attention is split on key-value heads as long as there are enough of them, else
// on query heads, with key-value heads replicated on the ranks that share one. The MLP is split in
// as many lanes as the model has query heads, so that ranks with fewer heads take more lanes.
struct Partition {
  Range query_heads;
  Range key_value_heads;
  Range mlp_lanes;
  Range vocabulary;  // rows of the embedding and of the output head

  // Query heads of the rank that use key-value head `kv` (an index of the model).
  Range queries_of(std::int32_t kv, const model::ModelConfig& config) const;
};

// The columns of the MLP's inner dimension that lane `lane` of `lanes` sums, in groups of 32.
Range mlp_lane_groups(const model::ModelConfig& config, std::int32_t lane);

// The part of every rank. Throws Error naming the limit when `world_size` is beyond the number of
// query heads, or when the model's sizes do not suit the kernels (head_dim and hidden_size and
// intermediate_size must be multiples of 32).
std::vector<Partition> partition_model(const model::ModelConfig& config, int world_size);

// The tree in which attention output and MLP down projection are summed.
LaneTree lane_tree(const model::ModelConfig& config);

}  // namespace lockstep::shard

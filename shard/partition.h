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
  Range layers;      // of the rank's pipeline stage; all of them where there is one stage

  // The first layer's input is the embedding, the last one's output goes to the head: a rank has
  // those of the two that its layers touch.
  bool embeds() const { return layers.begin == 0; }
  bool has_head(const model::ModelConfig& config) const {
    return layers.end == config.num_hidden_layers;
  }

  // Query heads of the rank that use key-value head `kv` (an index of the model).
  Range queries_of(std::int32_t kv, const model::ModelConfig& config) const;
};

// The columns of the MLP's inner dimension that lane `lane` sums, in groups of 32.
Range mlp_lane_groups(const model::ModelConfig& config, std::int32_t lane);

// Columns that the projections into attention have on the rank with this part: those of its query
// heads, of their keys and of their values.
std::int64_t qkv_columns(const model::ModelConfig& config, const Partition& part);

// Columns of the MLP's inner dimension on the rank with this part.
std::int64_t inner_columns(const model::ModelConfig& config, const Partition& part);

// The layers of every pipeline stage: contiguous runs that even out the weights which a step reads,
// the output head of the last stage among them. Throws Error naming the limit unless
// 1 <= stages <= num_hidden_layers.
std::vector<Range> pipeline_stages(const model::ModelConfig& config, int stages);

// The parts of the ranks that share `layers`, one for each. Throws Error naming the limit when
// `world_size` is beyond the number of query heads, or when the model's sizes do not suit the
// kernels (head_dim and hidden_size and intermediate_size must be multiples of 32), or when a rank
// would have nothing of the MLP.
std::vector<Partition> partition_model(const model::ModelConfig& config, int world_size,
                                       Range layers);
// The same of all layers: a pipeline of one stage.
std::vector<Partition> partition_model(const model::ModelConfig& config, int world_size);

// The trees in which the products of attention's output and the MLP's down projection are summed.
// First they are cut where two ranks part, then as many ranks as divide the key-value heads, then
// the query heads: at these numbers of ranks each has a segment, or few.
// Throws Error naming num_attention_heads when that makes a tree too deep for the kernels, as no
// power of two does.
struct LaneTrees {
  LaneTree attention, mlp;
};
LaneTrees lane_trees(const model::ModelConfig& config);

}  // namespace lockstep::shard

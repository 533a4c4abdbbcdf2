// What follows from a model's lanes on one rank: the programs of its row-parallel products.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/lanes.h"
#include "model/config.h"
#include "shard/partition.h"

namespace lockstep::shard {

// The lanes of every rank: `lanes` is Partition::query_heads or Partition::mlp_lanes.
std::vector<Range> lane_runs(const std::vector<Partition>& parts, Range Partition::*lanes);

// How this rank sums its part of the attention output's product, and of the MLP's down projection.
kernels::LaneProgram attention_program(const model::ModelConfig& config, const Partition& part);
kernels::LaneProgram mlp_program(const model::ModelConfig& config, const Partition& part);

// Columns of the MLP's inner dimension on this rank.
std::int64_t inner_columns(const model::ModelConfig& config, const Partition& part);

}  // namespace lockstep::shard

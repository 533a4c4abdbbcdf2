// What follows from a model's lanes on one rank: the programs of its row-parallel products.
#pragma once

#include <span>
#include <vector>

#include "kernels/lanes.h"
#include "model/config.h"
#include "shard/partition.h"

namespace lockstep::shard {

// The lanes of every rank: `lanes` is Partition::query_heads or Partition::mlp_lanes.
std::vector<Range> lane_runs(std::span<const Partition> parts, Range Partition::*lanes);

// How this rank sums its part of the attention output's product, and of the MLP's down projection.
kernels::LaneProgram attention_program(const model::ModelConfig& config, const Partition& part);
kernels::LaneProgram mlp_program(const model::ModelConfig& config, const Partition& part);
// The same of runs of lanes whose sums stay apart (LaneTree::program).
kernels::LaneProgram attention_program(const model::ModelConfig& config,
                                       std::span<const Range> runs);
kernels::LaneProgram mlp_program(const model::ModelConfig& config, std::span<const Range> runs);

}  // namespace lockstep::shard

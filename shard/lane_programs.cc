#include "shard/lane_programs.h"

namespace lockstep::shard {

std::vector<Range> lane_runs(std::span<const Partition> parts, Range Partition::*lanes) {
  std::vector<Range> runs;
  for (const Partition& part : parts) runs.push_back(part.*lanes);
  return runs;
}

kernels::LaneProgram attention_program(const model::ModelConfig& config,
                                       std::span<const Range> runs) {
  const std::vector<std::int32_t> groups(
      static_cast<std::size_t>(config.num_attention_heads),
      static_cast<std::int32_t>(config.head_dim / kernels::kGroup));
  return lane_trees(config).attention.program(runs, groups);
}

kernels::LaneProgram mlp_program(const model::ModelConfig& config, std::span<const Range> runs) {
  std::vector<std::int32_t> groups;
  for (std::int32_t lane = 0; lane < config.num_attention_heads; ++lane) {
    groups.push_back(mlp_lane_groups(config, lane).size());
  }
  return lane_trees(config).mlp.program(runs, groups);
}

kernels::LaneProgram attention_program(const model::ModelConfig& config, const Partition& part) {
  return attention_program(config, std::span(&part.query_heads, 1));
}

kernels::LaneProgram mlp_program(const model::ModelConfig& config, const Partition& part) {
  return mlp_program(config, std::span(&part.mlp_lanes, 1));
}

}  // namespace lockstep::shard

// A tree over lanes for tests.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "shard/lane_tree.h"

namespace lockstep::shard {

// Over `groups` groups of `lanes_per_group` lanes: first the groups are halved, then the lanes
// inside one; the left half takes the odd one.
inline LaneTree halved_tree(std::int32_t groups, std::int32_t lanes_per_group) {
  std::vector<std::int32_t> turns;
  for (std::int32_t lane = 1; lane < groups * lanes_per_group; ++lane) {
    turns.push_back(lane % lanes_per_group == 0 ? 0 : 1);
  }
  return LaneTree(std::move(turns));
}

}  // namespace lockstep::shard

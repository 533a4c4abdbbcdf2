// Where a rank's layers lie between those of other ranks.
#pragma once

#include "comm/stage_link.h"
#include "model/config.h"
#include "shard/lane_tree.h"

namespace lockstep::shard {

// The neighbours of a pipeline stage, and its layers.
struct PipelinePlace {
  Range layers;                          // empty: all, where there is one stage
  comm::StageInlet* previous = nullptr;  // nullptr: the first stage
  comm::StageOutlet* next = nullptr;     // nullptr: the last stage
};

// The layers of the place. Throws Error unless the first layers have no stage before them and all
// others have, and likewise at the end.
Range stage_layers(const model::ModelConfig& config, const PipelinePlace& place);

}  // namespace lockstep::shard

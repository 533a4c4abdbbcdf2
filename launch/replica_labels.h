// What a replica tells of how it computes.
#pragma once

#include <map>
#include <string>

#include "kernels/cpu_family.h"
#include "launch/core_placement.h"
#include "launch/gpu_shard.h"
#include "launch/pipeline.h"
#include "launch/serve_options.h"
#include "model/model.h"
#include "shard/llama.h"

namespace lockstep::launch {

// What an answer's bits depend on: the device, the weights' storage types, what products make of
// activations and how keys and values are stored; of CPU families only whether it is amx. `gpu`:
// nullptr on the CPU.
std::string fingerprint(const model::Model& model, const ServeOptions& options, const GpuShard* gpu,
                        kernels::CpuFamily family);

// The labels of the metric lockstep_replica_info: which ways rank 0, of this place, has taken,
// those that bits do not depend on among them.
using Labels = std::map<std::string, std::string>;
Labels cpu_labels(const ServeOptions& options, const RankPlace& place, kernels::CpuFamily family,
                  const Placement& placement, const shard::LlamaRunner& runner);
Labels gpu_labels(const ServeOptions& options, const RankPlace& place, const GpuShard& gpu);

}  // namespace lockstep::launch

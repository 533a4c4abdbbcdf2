// The sizes of a replica, settled between what was asked, the model and the machine.
#pragma once

#include <cstdint>

#include "comm/communicator.h"
#include "comm/mpi_environment.h"
#include "launch/serve_options.h"
#include "model/config.h"
#include "shard/partition.h"

namespace lockstep::launch {

struct ReplicaSizes {
  std::int32_t max_model_len = 0;
  std::int32_t num_blocks = 0;  // the same on every rank: the least that any can hold
};

// Collective over all ranks, which `communicator` joins; `part` is this rank's. Throws Error naming
// the option and the limit.
ReplicaSizes settle_sizes(const ServeOptions& options, const model::ModelConfig& config,
                          const shard::Partition& part, const comm::MpiEnvironment& mpi,
                          comm::Communicator& communicator);

}  // namespace lockstep::launch

// The sizes of a replica, settled between what was asked, the model and the machine.
#pragma once

#include <cstdint>

#include "comm/communicator.h"
#include "comm/mpi_environment.h"
#include "kernels/kv_format.h"
#include "launch/pipeline.h"
#include "launch/serve_options.h"
#include "model/model.h"

namespace lockstep::launch {

// The CPU's form. Throws Error for fp8, which it has not.
kernels::KvFormat cpu_kv_format(KvCacheType type);

// The longest prompt and answer. Throws Error naming the option when the model was made for less.
std::int32_t settle_model_len(const ServeOptions& options, const model::Model& model);

// The smallest of all ranks' values. Collective.
std::int64_t smallest(comm::Communicator& communicator, std::int64_t mine);

struct ReplicaSizes {
  std::int32_t max_model_len = 0;
  std::int32_t num_blocks = 0;  // the same on every rank: the least that any can hold
};

// Collective over all ranks, which `communicator` joins, before any loads weights. `threads`: this
// rank's. Throws Error naming the option and the limit, and when the ranks of this host do not fit
// into its memory: with the numbers, and with what would fit.
ReplicaSizes settle_sizes(const ServeOptions& options, const model::Model& model,
                          const RankPlace& place, const comm::MpiEnvironment& mpi,
                          comm::Communicator& communicator, std::int64_t threads);

}  // namespace lockstep::launch

// Where each rank stands when a model is cut both ways: layers over pipeline stages, and each layer
// over the ranks of its stage.
#pragma once

#include <optional>
#include <string>
#include <zmq.hpp>

#include "comm/communicator.h"
#include "comm/mpi_environment.h"
#include "comm/plan_bus.h"
#include "comm/stage_link.h"
#include "model/config.h"
#include "shard/llama.h"
#include "shard/worker.h"

namespace lockstep::launch {

// Neighbouring ranks make a stage, so that with mpirun's and srun's usual placement by node a stage
// is a node.
struct RankPlace {
  comm::RankGroup stage_ranks;
  shard::Stage stage;
  shard::Range layers;

  int rank_in_stage(int rank) const { return rank - stage_ranks.first; }
};

// `tp` ranks a stage, or 0: as many as there are. Throws Error naming the option when the world's
// ranks cannot stand so, or the model has fewer layers than stages.
RankPlace place_in_pipeline(int rank, int world_size, int tp, int pp,
                            const model::ModelConfig& config);

// This rank's connections to the stages beside its own: to the rank of the same number in each.
class StageLinks {
 public:
  // Collective over all ranks, which `world` joins, and returns when all links are up. `bus` gives
  // epoch and token; `max_bytes` bounds what one step sends. Throws Error naming the rank that is
  // missing.
  StageLinks(zmq::context_t& context, const comm::PlanBusAddress& bus, const RankPlace& place,
             const comm::MpiEnvironment& mpi, comm::Communicator& world,
             std::chrono::milliseconds deadline, std::size_t max_bytes);

  comm::StageInlet* previous() { return inlet_ ? &*inlet_ : nullptr; }
  comm::StageOutlet* next() { return outlet_ ? &*outlet_ : nullptr; }

 private:
  std::optional<comm::StageOutlet> outlet_;
  std::optional<comm::StageInlet> inlet_;
};

}  // namespace lockstep::launch

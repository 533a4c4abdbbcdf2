// Which way the ranks of a replica talk.
#pragma once

#include <chrono>
#include <memory>

#include "comm/communicator.h"
#include "comm/mpi_environment.h"

namespace lockstep::comm {

enum class Transport {
  automatic,      // shared memory when all ranks of the group are on one host, else MPI
  shared_memory,  // needs all ranks of the group on one host
  mpi,
};

// Joins the ranks of `group`, this one among them: each rank is in one group. Collective over all
// ranks of `environment`, with arguments equal but for the group. `environment` must outlive the
// result, whose name() tells the choice. Throws Error, or CollectiveTimeout naming the ranks that
// do not come.
std::unique_ptr<Communicator> make_communicator(const MpiEnvironment& environment, RankGroup group,
                                                Transport transport,
                                                std::chrono::milliseconds deadline);
// All ranks.
std::unique_ptr<Communicator> make_communicator(const MpiEnvironment& environment,
                                                Transport transport,
                                                std::chrono::milliseconds deadline);

}  // namespace lockstep::comm

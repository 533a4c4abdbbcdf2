// Which way the ranks of a replica talk.
#pragma once

#include <chrono>
#include <memory>

#include "comm/communicator.h"
#include "comm/mpi_environment.h"

namespace lockstep::comm {

enum class Transport {
  automatic,      // shared memory when all ranks are on one host, else MPI
  shared_memory,  // needs all ranks on one host
  mpi,
};

// Collective over all ranks, with equal arguments. `environment` must outlive the result, whose
// name() tells the choice. Throws Error, or CollectiveTimeout naming the ranks that do not come.
std::unique_ptr<Communicator> make_communicator(const MpiEnvironment& environment,
                                                Transport transport,
                                                std::chrono::milliseconds deadline);

}  // namespace lockstep::comm

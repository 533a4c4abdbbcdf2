// What the ranks of a test in each other's memory do (rank_program.h), and where they stand.
#pragma once

#include <chrono>
#include <string>

#include "comm/mpi_environment.h"

namespace lockstep::comm::cuda {

inline constexpr std::chrono::milliseconds kAmple{60000};
inline constexpr std::chrono::milliseconds kShort{10000};  // NCCL itself takes seconds to start

struct Place {
  int rank = 0;
  int ranks = 1;
  int devices = 1;  // that they share
  std::string id;
  std::string name = {};                // of the test: the same for all its ranks
  const MpiEnvironment* mpi = nullptr;  // when the ranks are those of an MPI job
};

// Every rank writes its number all over the others' memory, each at its own place.
void ipc(const Place& place);
// Ranks sum by kernels in each other's memory, turn after turn.
void peers(const Place& place);
// Rank 1 does not come to the second sum.
void peer_missing(const Place& place);

}  // namespace lockstep::comm::cuda

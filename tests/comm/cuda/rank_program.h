// What one rank of an NCCL test does, in a process of its own.
#pragma once

#include <string>
#include <vector>

namespace lockstep::comm::cuda {

// Arguments: SCENARIO RANK RANKS FILE, the last of them where rank 0 leaves NCCL's id for the
// others; or SCENARIO "mpi" under mpiexec. Several ranks may share one GPU. Returns the exit
// status: 0 when all was as it must be, 77 without a GPU.
int run_rank(const std::vector<std::string>& arguments);

}  // namespace lockstep::comm::cuda

// Which kernels the ranks of a replica run.
#pragma once

#include <span>
#include <string>

#include "comm/communicator.h"
#include "kernels/cpu_family.h"

namespace lockstep::launch {

// What rank `rank` runs where the ranks could run these: amx, whose bits are its own, only where
// all have it; the other families may differ from rank to rank.
kernels::CpuFamily agree(std::span<const kernels::CpuFamily> fastest, int rank);

// The family called `wanted`, or with "auto" the fastest on which the ranks agree. Called by all
// ranks. Throws Error when this rank's machine has not what is wanted.
kernels::CpuFamily settle_family(const std::string& wanted, comm::Communicator& communicator);

}  // namespace lockstep::launch

// The cores of this host, as hwloc sees them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "comm/mpi_environment.h"
#include "kernels/thread_affinity.h"
#include "launch/core_placement.h"

struct hwloc_topology;

namespace lockstep::launch {

class HostTopology {
 public:
  // This machine, with the cores that this process may not use as well: other ranks may. Throws
  // Error when hwloc cannot tell.
  HostTopology();
  // A machine in hwloc's synthetic notation, e.g. "pack:2 core:8 pu:2", where a control group
  // permits `permitted`; for tests.
  HostTopology(const std::string& synthetic, const kernels::CpuSet& permitted);

  // All cores, near ones together. Where hwloc knows no cores, every CPU is one.
  std::vector<Core> cores() const;

  // The CPUs that this process's control group permits.
  kernels::CpuSet permitted() const;

 private:
  struct Destroy {
    void operator()(hwloc_topology* topology) const;
  };
  std::unique_ptr<hwloc_topology, Destroy> topology_;
};

// This rank's placement. Collective over all ranks of the job, with equal arguments; to be called
// before this thread is bound. Throws Error when the machine cannot be read.
Placement place_this_rank(const PlacementWish& wish, const comm::MpiEnvironment& mpi);

}  // namespace lockstep::launch

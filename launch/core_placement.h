// Which cores the ranks of one host take. Every rank computes the placement of all of them, from
// the same facts, so that they agree without a word.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "kernels/thread_affinity.h"
#include "kernels/thread_pool.h"

namespace lockstep::launch {

// One physical core of the host.
struct Core {
  kernels::CpuSet cpus;  // its hardware threads
  int numa_node = 0;
};

// What one rank may use of its host.
struct RankCpus {
  kernels::CpuSet permitted;  // by its control group
  kernels::CpuSet bound;      // by its launcher too (affinity)
};

// What was asked for, the same on all ranks.
struct PlacementWish {
  int threads = 0;   // of each rank; 0: its share of the cores
  bool bind = true;  // each thread to a core of its own
};

// How one rank's compute threads run.
struct Placement {
  kernels::ThreadTeam team;     // its cpus are empty when the threads are not bound
  std::string unbound_because;  // empty when they are bound
};

// The placement of every rank of a host. `cores` are the host's, ordered so that cores near each
// other in memory are near each other in the list.
//
// A rank's share are the cores that it may use, divided by the ranks that may use any of them.
// Threads are bound, each to one physical core that no other rank takes, when
//   1. the ranks that share cores fit into them, one thread a core;
//   2. those ranks may use the same cores, not only some in common;
//   3. the launcher has left each its part of what the control groups permit: it may have
//      bound a rank to one core for want of knowing about its threads.
// A rank's cores lie in one NUMA node where there are enough such places, and ranks are spread over
// the nodes. Where ranks and threads do not fit into the cores (1), threads do not spin either.
std::vector<Placement> place_ranks(std::span<const Core> cores, std::span<const RankCpus> ranks,
                                   const PlacementWish& wish);

// "4 threads on CPUs 0-3", "4 threads, not bound and not spinning".
std::string to_text(const Placement& placement);

}  // namespace lockstep::launch

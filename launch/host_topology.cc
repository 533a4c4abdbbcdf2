#include "launch/host_topology.h"

#include <hwloc.h>

#include <cerrno>
#include <cstring>
#include <span>
#include <type_traits>

#include "base/error.h"

namespace lockstep::launch {
namespace {

struct FreeBitmap {
  void operator()(hwloc_bitmap_t bitmap) const { hwloc_bitmap_free(bitmap); }
};
using Bitmap = std::unique_ptr<hwloc_bitmap_s, FreeBitmap>;

void check(int result, const char* what) {
  if (result < 0) throw Error(std::string("hwloc: ") + what + ": " + std::strerror(errno));
}

kernels::CpuSet to_cpu_set(hwloc_const_bitmap_t bitmap) {
  kernels::CpuSet cpus;
  for (std::size_t cpu = 0; cpu < cpus.size(); ++cpu) {
    cpus.set(cpu, hwloc_bitmap_isset(bitmap, static_cast<unsigned>(cpu)) != 0);
  }
  return cpus;
}

hwloc_topology* make_topology() {
  hwloc_topology* topology = nullptr;
  check(hwloc_topology_init(&topology), "hwloc_topology_init");
  return topology;
}

void load(hwloc_topology* topology) {
  check(hwloc_topology_set_flags(topology, HWLOC_TOPOLOGY_FLAG_INCLUDE_DISALLOWED),
        "hwloc_topology_set_flags");
  check(hwloc_topology_load(topology), "reading the machine's topology");
}

}  // namespace

void HostTopology::Destroy::operator()(hwloc_topology* topology) const {
  hwloc_topology_destroy(topology);
}

HostTopology::HostTopology() : topology_(make_topology()) { load(topology_.get()); }

HostTopology::HostTopology(const std::string& synthetic, const kernels::CpuSet& permitted)
    : topology_(make_topology()) {
  check(hwloc_topology_set_synthetic(topology_.get(), synthetic.c_str()), synthetic.c_str());
  load(topology_.get());
  const Bitmap cpus(hwloc_bitmap_alloc());
  for (std::size_t cpu = 0; cpu < permitted.size(); ++cpu) {
    if (permitted.test(cpu)) check(hwloc_bitmap_set(cpus.get(), static_cast<unsigned>(cpu)), "CPU");
  }
  check(hwloc_topology_allow(topology_.get(), cpus.get(), nullptr, HWLOC_ALLOW_FLAG_CUSTOM),
        "hwloc_topology_allow");
}

std::vector<Core> HostTopology::cores() const {
  hwloc_topology* topology = topology_.get();
  const int depth = hwloc_get_type_or_below_depth(topology, HWLOC_OBJ_CORE);
  std::vector<Core> cores;
  for (unsigned i = 0; i < hwloc_get_nbobjs_by_depth(topology, depth); ++i) {
    const hwloc_obj* core = hwloc_get_obj_by_depth(topology, depth, i);
    cores.push_back({to_cpu_set(core->cpuset), hwloc_bitmap_first(core->nodeset)});
  }
  return cores;
}

kernels::CpuSet HostTopology::permitted() const {
  return to_cpu_set(hwloc_topology_get_allowed_cpuset(topology_.get()));
}

Placement place_this_rank(const PlacementWish& wish, const comm::MpiEnvironment& mpi) {
  static_assert(std::is_trivially_copyable_v<RankCpus>);
  const HostTopology topology;
  const RankCpus mine{topology.permitted(), kernels::allowed_cpus()};
  std::vector<RankCpus> ranks(static_cast<std::size_t>(mpi.local_size()));
  mpi.gather_on_host(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(ranks)));
  return place_ranks(topology.cores(), ranks, wish)[static_cast<std::size_t>(mpi.local_rank())];
}

}  // namespace lockstep::launch

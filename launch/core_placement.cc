#include "launch/core_placement.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>

namespace lockstep::launch {
namespace {

using CoreList = std::vector<std::size_t>;  // indices of the host's cores

std::string count(std::size_t number, const char* noun) {
  return fmt::format("{} {}{}", number, noun, number == 1 ? "" : "s");
}

CoreList cores_within(std::span<const Core> cores, const kernels::CpuSet& cpus) {
  CoreList found;
  for (std::size_t i = 0; i < cores.size(); ++i) {
    if ((cores[i].cpus & cpus).any()) found.push_back(i);
  }
  return found;
}

bool share_a_core(const CoreList& a, const CoreList& b) {
  return std::ranges::any_of(a,
                             [&](std::size_t core) { return std::ranges::binary_search(b, core); });
}

// Where the threads of each of `ranks` ranks begin in `usable`: each rank inside one NUMA node if
// there are places enough, and ranks as far from each other as they can be.
// REQUIRES: ranks * threads <= usable.size().
std::vector<std::size_t> first_cores(std::span<const Core> cores, const CoreList& usable,
                                     std::size_t threads, std::size_t ranks) {
  std::vector<std::size_t> places;  // inside one node
  const auto node = [&](std::size_t i) { return cores[usable[i]].numa_node; };
  for (std::size_t begin = 0, i = 0; i < usable.size(); ++i) {
    if (node(i) != node(begin)) begin = i;
    if (i + 1 - begin < threads) continue;
    places.push_back(begin);
    begin = i + 1;
  }
  std::vector<std::size_t> first;
  for (std::size_t rank = 0; rank < ranks; ++rank) {
    first.push_back(places.size() < ranks ? rank * usable.size() / ranks
                                          : places[rank * places.size() / ranks]);
  }
  return first;
}

// The host's cores and ranks, and what follows for one rank after the other.
class Host {
 public:
  Host(std::span<const Core> cores, std::span<const RankCpus> ranks, const PlacementWish& wish)
      : cores_(cores), ranks_(ranks), wish_(wish) {
    kernels::CpuSet permitted;
    for (const RankCpus& rank : ranks) {
      usable_.push_back(cores_within(cores, rank.bound));
      permitted |= rank.permitted;
    }
    fair_share_ = cores_within(cores, permitted).size() / ranks.size();
  }

  Placement place(std::size_t rank) const {
    const std::vector<std::size_t> sharing = sharing_with(rank);
    Placement placement;
    placement.team.size = threads(rank);
    std::size_t wanted = 0;
    for (const std::size_t other : sharing) wanted += static_cast<std::size_t>(threads(other));
    placement.team.spin = wanted <= usable_[rank].size();
    placement.unbound_because = obstacle(rank, sharing, wanted);
    if (!placement.unbound_because.empty()) return placement;

    const auto size = static_cast<std::size_t>(placement.team.size);
    const auto index = static_cast<std::size_t>(std::ranges::find(sharing, rank) - sharing.begin());
    const std::size_t first = first_cores(cores_, usable_[rank], size, sharing.size())[index];
    for (std::size_t i = first; i < first + size; ++i) {
      placement.team.cpus.push_back(cores_[usable_[rank][i]].cpus & ranks_[rank].bound);
    }
    return placement;
  }

 private:
  // The ranks that may use any of the cores that `rank` may use, itself among them.
  std::vector<std::size_t> sharing_with(std::size_t rank) const {
    std::vector<std::size_t> found;
    for (std::size_t other = 0; other < ranks_.size(); ++other) {
      if (other == rank || share_a_core(usable_[rank], usable_[other])) found.push_back(other);
    }
    return found;
  }

  int threads(std::size_t rank) const {
    if (wish_.threads > 0) return wish_.threads;
    return static_cast<int>(
        std::max<std::size_t>(1, usable_[rank].size() / sharing_with(rank).size()));
  }

  // Why the threads of `rank` are not bound; empty when they are.
  std::string obstacle(std::size_t rank, const std::vector<std::size_t>& sharing,
                       std::size_t wanted) const {
    if (!wish_.bind) return "--bind none";
    const std::size_t usable = usable_[rank].size();
    if (wanted > usable) {
      return fmt::format("{} with {} in all share {}", count(sharing.size(), "rank"),
                         count(wanted, "thread"), count(usable, "core"));
    }
    if (usable < fair_share_) {
      return fmt::format(
          "the launcher has bound this rank to {}, its share is {}; mpirun --bind-to none gives it "
          "all",
          count(usable, "core"), fair_share_);
    }
    for (const std::size_t other : sharing) {
      if (usable_[other] != usable_[rank]) return "another rank may use some of its cores, not all";
    }
    return "";
  }

  std::span<const Core> cores_;
  std::span<const RankCpus> ranks_;
  const PlacementWish wish_;
  std::vector<CoreList> usable_;  // by each rank
  std::size_t fair_share_ = 0;    // cores of one rank if launchers bound nothing
};

}  // namespace

std::vector<Placement> place_ranks(std::span<const Core> cores, std::span<const RankCpus> ranks,
                                   const PlacementWish& wish) {
  const Host host(cores, ranks, wish);
  std::vector<Placement> placements;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) placements.push_back(host.place(rank));
  return placements;
}

std::string to_text(const Placement& placement) {
  const std::string threads = count(static_cast<std::size_t>(placement.team.size), "thread");
  if (placement.team.cpus.empty()) {
    return threads + (placement.team.spin ? ", not bound" : ", not bound and not spinning");
  }
  kernels::CpuSet all;
  for (const kernels::CpuSet& cpus : placement.team.cpus) all |= cpus;
  return threads + " on CPUs " + kernels::to_text(all);
}

}  // namespace lockstep::launch

// On machines that are not there, in hwloc's notation.
#include "launch/core_placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "launch/host_topology.h"

namespace lockstep::launch {
namespace {

using kernels::CpuSet;
using testing::ElementsAre;
using testing::HasSubstr;

CpuSet range(std::size_t begin, std::size_t end) {
  CpuSet cpus;
  for (std::size_t cpu = begin; cpu < end; ++cpu) cpus.set(cpu);
  return cpus;
}

// Two sockets with a NUMA node each, 8 cores each, 2 hardware threads a core. hwloc numbers CPUs in
// order: core c has 2c and 2c + 1.
constexpr const char* kTwoSockets = "pack:2 [numa] core:8 pu:2";

// Ranks on a machine of which the control group permits `permitted`, bound by their launcher to
// `bound`, one set a rank.
std::vector<Placement> place(const std::string& machine, const CpuSet& permitted,
                             const std::vector<CpuSet>& bound, PlacementWish wish = {}) {
  const HostTopology topology(machine, permitted);
  std::vector<RankCpus> ranks;
  for (const CpuSet& cpus : bound) ranks.push_back({topology.permitted(), cpus});
  return place_ranks(topology.cores(), ranks, wish);
}

// Ranks that nothing binds.
std::vector<Placement> place_free(const std::string& machine, const CpuSet& permitted,
                                  std::size_t ranks, PlacementWish wish = {}) {
  return place(machine, permitted, std::vector<CpuSet>(ranks, permitted), wish);
}

std::vector<std::string> texts(const std::vector<Placement>& placements) {
  std::vector<std::string> texts;
  for (const Placement& placement : placements) texts.push_back(to_text(placement));
  return texts;
}

TEST(HostTopology, SeesCoresWithTheirHardwareThreadsAndNodes) {
  const auto cores = HostTopology(kTwoSockets, range(0, 32)).cores();
  ASSERT_EQ(cores.size(), 16u);
  EXPECT_EQ(cores[9].cpus, range(18, 20));
  EXPECT_EQ(cores[7].numa_node, 0);
  EXPECT_EQ(cores[8].numa_node, 1);
}

TEST(HostTopology, SeesCoresThatAreNotPermittedToo) {
  const HostTopology topology(kTwoSockets, range(4, 8));
  EXPECT_EQ(topology.cores().size(), 16u);
  EXPECT_EQ(topology.permitted(), range(4, 8));
}

TEST(HostTopology, ReadsThisMachine) {
  const HostTopology topology;
  CpuSet all;
  for (const Core& core : topology.cores()) {
    EXPECT_TRUE((all & core.cpus).none()) << "a CPU of two cores";
    all |= core.cpus;
  }
  EXPECT_TRUE((kernels::allowed_cpus() & ~all).none()) << "a CPU of no core";
  EXPECT_TRUE((kernels::allowed_cpus() & ~topology.permitted()).none());
}

TEST(CorePlacement, OneRankTakesEveryCoreAndNotEveryHardwareThread) {
  const auto placed = place_free(kTwoSockets, range(0, 32), 1);
  EXPECT_THAT(texts(placed), ElementsAre("16 threads on CPUs 0-31"));
  EXPECT_TRUE(placed[0].team.spin);
  ASSERT_EQ(placed[0].team.cpus.size(), 16u);
  for (std::size_t i = 0; i < 16; ++i) {
    EXPECT_EQ(placed[0].team.cpus[i], range(2 * i, 2 * i + 2));
  }
}

TEST(CorePlacement, RanksShareTheCoresAndTakeANodeEach) {
  EXPECT_THAT(texts(place_free(kTwoSockets, range(0, 32), 2)),
              ElementsAre("8 threads on CPUs 0-15", "8 threads on CPUs 16-31"));
  EXPECT_THAT(texts(place_free(kTwoSockets, range(0, 32), 4)),
              ElementsAre("4 threads on CPUs 0-7", "4 threads on CPUs 8-15",
                          "4 threads on CPUs 16-23", "4 threads on CPUs 24-31"));
}

TEST(CorePlacement, FewThreadsAreSpreadOverTheNodes) {
  EXPECT_THAT(texts(place_free(kTwoSockets, range(0, 32), 2, {.threads = 3})),
              ElementsAre("3 threads on CPUs 0-5", "3 threads on CPUs 16-21"));
}

TEST(CorePlacement, ARankStaysInsideANodeWhereThereArePlacesEnough) {
  // Dealt evenly, rank 1 would have the cores 5 to 8: of both nodes.
  EXPECT_THAT(
      texts(place_free(kTwoSockets, range(0, 32), 3, {.threads = 4})),
      ElementsAre("4 threads on CPUs 0-7", "4 threads on CPUs 8-15", "4 threads on CPUs 16-23"));
}

TEST(CorePlacement, RanksThatFitIntoNoNodeStillTakeDifferentCores) {
  EXPECT_THAT(
      texts(place_free(kTwoSockets, range(0, 32), 3)),
      ElementsAre("5 threads on CPUs 0-9", "5 threads on CPUs 10-19", "5 threads on CPUs 20-29"));
}

TEST(CorePlacement, NoCoreIsTakenTwice) {
  for (std::size_t ranks = 1; ranks <= 16; ++ranks) {
    for (int threads = 0; threads * static_cast<int>(ranks) <= 16; ++threads) {
      CpuSet taken;
      for (const Placement& placement :
           place_free(kTwoSockets, range(0, 32), ranks, {.threads = threads})) {
        ASSERT_EQ(placement.team.cpus.size(), static_cast<std::size_t>(placement.team.size));
        for (const CpuSet& cpus : placement.team.cpus) {
          EXPECT_EQ(cpus.count(), 2u);
          EXPECT_TRUE((taken & cpus).none()) << ranks << " ranks, " << threads << " threads";
          taken |= cpus;
        }
      }
    }
  }
}

TEST(CorePlacement, ThreadsThatDoNotFitAreNotBoundAndDoNotSpin) {
  const auto placed = place_free("core:2 pu:1", range(0, 2), 3);
  EXPECT_EQ(texts(placed), std::vector<std::string>(3, "1 thread, not bound and not spinning"));
  EXPECT_EQ(placed[1].unbound_because, "3 ranks with 3 threads in all share 2 cores");
  const auto asked = place_free(kTwoSockets, range(0, 32), 2, {.threads = 9});
  EXPECT_EQ(texts(asked), std::vector<std::string>(2, "9 threads, not bound and not spinning"));
}

TEST(CorePlacement, AMachineWithOneCoreServesOneRank) {
  EXPECT_THAT(texts(place_free("core:1 pu:1", range(0, 1), 1)), ElementsAre("1 thread on CPUs 0"));
  EXPECT_THAT(texts(place_free("core:1 pu:2", range(0, 2), 1)),
              ElementsAre("1 thread on CPUs 0-1"));
}

TEST(CorePlacement, OnlyCoresThatTheControlGroupPermitsCount) {
  // Cores 6 to 9: two of each node.
  EXPECT_THAT(texts(place_free(kTwoSockets, range(12, 20), 2)),
              ElementsAre("2 threads on CPUs 12-15", "2 threads on CPUs 16-19"));
  EXPECT_THAT(texts(place_free(kTwoSockets, range(12, 20), 5)),
              testing::Each(HasSubstr("not spinning")));
}

TEST(CorePlacement, ACoreOfWhichOneHardwareThreadIsPermittedIsACore) {
  CpuSet firsts;
  for (std::size_t cpu = 0; cpu < 32; cpu += 2) firsts.set(cpu);
  const auto placed = place_free(kTwoSockets, firsts, 4);
  EXPECT_EQ(to_text(placed[1]), "4 threads on CPUs 8,10,12,14");
}

TEST(CorePlacement, RanksThatTheirLauncherHasGivenTheirShareStayInsideIt) {
  // mpirun --bind-to socket, two ranks on each.
  EXPECT_THAT(texts(place(kTwoSockets, range(0, 32),
                          {range(0, 16), range(16, 32), range(0, 16), range(16, 32)})),
              ElementsAre("4 threads on CPUs 0-7", "4 threads on CPUs 16-23",
                          "4 threads on CPUs 8-15", "4 threads on CPUs 24-31"));
}

TEST(CorePlacement, ALauncherThatHasLeftLessThanTheShareIsLeftItsWay) {
  // mpirun --bind-to core, its default for two ranks.
  const auto placed = place(kTwoSockets, range(0, 32), {range(0, 2), range(2, 4)});
  EXPECT_EQ(texts(placed), std::vector<std::string>(2, "1 thread, not bound"));
  EXPECT_THAT(placed[0].unbound_because,
              HasSubstr("bound this rank to 1 core, its share is 8; mpirun --bind-to none"));
}

TEST(CorePlacement, RanksInControlGroupsOfTheirOwnAreBoundInside) {
  const HostTopology topology(kTwoSockets, range(0, 32));
  const std::vector<RankCpus> ranks{{range(0, 8), range(0, 8)}, {range(16, 24), range(16, 24)}};
  EXPECT_THAT(texts(place_ranks(topology.cores(), ranks, {})),
              ElementsAre("4 threads on CPUs 0-7", "4 threads on CPUs 16-23"));
}

TEST(CorePlacement, RanksThatShareOnlySomeCoresAreNotBound) {
  const auto placed = place(kTwoSockets, range(0, 32), {range(0, 20), range(12, 32)});
  EXPECT_EQ(texts(placed), std::vector<std::string>(2, "5 threads, not bound"));
  EXPECT_THAT(placed[0].unbound_because, HasSubstr("some of its cores"));
}

TEST(CorePlacement, NothingIsBoundUnlessWished) {
  const auto placed = place_free(kTwoSockets, range(0, 32), 2, {.bind = false});
  EXPECT_EQ(texts(placed), std::vector<std::string>(2, "8 threads, not bound"));
  EXPECT_TRUE(placed[0].team.spin);
}

}  // namespace
}  // namespace lockstep::launch

#include "kernels/thread_affinity.h"

#include <gtest/gtest.h>
#include <sched.h>

#include <atomic>
#include <thread>
#include <vector>

#include "base/error.h"
#include "kernels/thread_pool.h"

namespace lockstep::kernels {
namespace {

CpuSet set_of(std::initializer_list<std::size_t> cpus) {
  CpuSet set;
  for (const std::size_t cpu : cpus) set.set(cpu);
  return set;
}

// Where this test may run, one set for each CPU.
std::vector<CpuSet> each_allowed_cpu() {
  const CpuSet allowed = allowed_cpus();
  std::vector<CpuSet> each;
  for (std::size_t cpu = 0; cpu < allowed.size(); ++cpu) {
    if (allowed.test(cpu)) each.push_back(set_of({cpu}));
  }
  return each;
}

TEST(ThreadAffinity, IsWrittenAsRanges) {
  EXPECT_EQ(to_text({}), "");
  EXPECT_EQ(to_text(set_of({3})), "3");
  EXPECT_EQ(to_text(set_of({0, 1, 2, 5, 8, 9, 1023})), "0-2,5,8-9,1023");
}

TEST(ThreadAffinity, PinsWhileTheObjectLivesAndNotLonger) {
  const CpuSet before = allowed_cpus();
  for (const CpuSet& cpu : each_allowed_cpu()) {
    {
      const PinnedThread pinned(cpu);
      EXPECT_EQ(allowed_cpus(), cpu);
      EXPECT_TRUE(cpu.test(static_cast<std::size_t>(sched_getcpu())));
    }
    EXPECT_EQ(allowed_cpus(), before);
  }
}

TEST(ThreadAffinity, AnEmptySetChangesNothing) {
  const CpuSet before = allowed_cpus();
  const PinnedThread pinned(CpuSet{});
  EXPECT_EQ(allowed_cpus(), before);
}

TEST(ThreadAffinity, ACpuThatIsNotThereIsRefusedByName) {
  try {
    const PinnedThread pinned(set_of({1023}));
    FAIL() << "pinned to CPU 1023";
  } catch (const Error& error) {
    EXPECT_NE(std::string(error.what()).find("CPUs 1023"), std::string::npos) << error.what();
  }
}

TEST(ThreadAffinity, EveryThreadOfATeamRunsOnItsCpu) {
  const std::vector<CpuSet> cpus = each_allowed_cpu();
  ThreadPool pool(ThreadTeam{.size = static_cast<int>(cpus.size()), .spin = true, .cpus = cpus});
  const PinnedThread pinned = pool.pin_caller();
  std::vector<CpuSet> allowed(cpus.size()), ran(cpus.size());
  std::atomic<int> helpers{0};
  pool.run([&](int index) {
    const auto i = static_cast<std::size_t>(index);
    allowed[i] = allowed_cpus();
    ran[i] = set_of({static_cast<std::size_t>(sched_getcpu())});
    if (index > 0) ++helpers;
    // Else this thread would do what a helper has not begun.
    while (index == 0 && helpers < pool.size() - 1) std::this_thread::yield();
  });
  EXPECT_EQ(allowed, cpus);
  EXPECT_EQ(ran, cpus);
}

TEST(ThreadAffinity, ATeamLeavesItsCallerAndTheThreadsThatFollowUnbound) {
  const CpuSet before = allowed_cpus();
  const ThreadPool pool(
      ThreadTeam{.size = 2, .spin = true, .cpus = {each_allowed_cpu().front(), before}});
  EXPECT_EQ(allowed_cpus(), before);
  { const PinnedThread pinned = pool.pin_caller(); }
  CpuSet inherited;
  std::jthread([&] { inherited = allowed_cpus(); }).join();
  EXPECT_EQ(inherited, before);
}

TEST(ThreadAffinity, ATeamThatCannotBePlacedEndsItsThreadsAndThrows) {
  const CpuSet here = each_allowed_cpu().front();
  EXPECT_THROW(
      ThreadPool(ThreadTeam{.size = 3, .spin = true, .cpus = {here, here, set_of({1023})}}), Error);
}

}  // namespace
}  // namespace lockstep::kernels

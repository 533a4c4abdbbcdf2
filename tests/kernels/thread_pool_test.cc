#include "kernels/thread_pool.h"

#include <gtest/gtest.h>

#include <chrono>
#include <thread>
#include <vector>

namespace lockstep::kernels {
namespace {

TEST(ThreadPool, CoversEveryIndexOnceForAnyCount) {
  for (const int size : {1, 2, 3, 4}) {
    ThreadPool pool(size);
    for (const std::ptrdiff_t count : {0, 1, 2, 7, 100}) {
      std::vector<int> visits(static_cast<std::size_t>(count));
      pool.for_ranges(count, [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
        for (auto i = begin; i < end; ++i) ++visits[static_cast<std::size_t>(i)];
      });
      EXPECT_EQ(visits, std::vector<int>(static_cast<std::size_t>(count), 1));
    }
  }
}

TEST(ThreadPool, WakesHelpersThatFellAsleep) {
  ThreadPool pool(3);
  for (int round = 0; round < 3; ++round) {
    std::vector<int> ran(3);
    pool.run([&](int index) { ran[static_cast<std::size_t>(index)] = 1; });
    EXPECT_EQ(ran, std::vector<int>(3, 1));
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  }
}

TEST(ThreadPool, RunsManyShortTasksInOrder) {
  for (const bool spin : {true, false}) {
    ThreadPool pool(ThreadTeam{.size = 4, .spin = spin});
    std::vector<int> total(4 * 16);
    for (int task = 0; task < 5000; ++task) {
      pool.run([&](int index) { ++total[static_cast<std::size_t>(16 * index)]; });
    }
    for (int index = 0; index < 4; ++index)
      EXPECT_EQ(total[static_cast<std::size_t>(16 * index)], 5000);
  }
}

// Caller and helper share a CPU, so the helper does not get it before the caller is done.
TEST(ThreadPool, DoesTheWorkOfAHelperThatHasNotBegun) {
  const CpuSet allowed = allowed_cpus();
  std::size_t cpu = 0;
  while (!allowed[cpu]) ++cpu;
  const CpuSet here = CpuSet().set(cpu);
  ThreadPool pool(ThreadTeam{.size = 2, .spin = true, .cpus = {here, here}});
  const PinnedThread pinned = pool.pin_caller();
  const auto caller = std::this_thread::get_id();
  int runs = 0, by_caller = 0;
  for (int task = 0; task < 1000; ++task) {
    pool.run([&](int index) {
      if (index == 0) return;
      ++runs;
      by_caller += std::this_thread::get_id() == caller;
    });
  }
  EXPECT_EQ(runs, 1000);
  EXPECT_GT(by_caller, 500);
}

}  // namespace
}  // namespace lockstep::kernels

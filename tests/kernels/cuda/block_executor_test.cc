// The executor finds the mistakes that it is there to find.
#include "tests/kernels/cuda/block_executor.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace lockstep::kernels::cuda {
namespace {

using testing::AllOf;
using testing::Each;
using testing::HasSubstr;

// What run_blocks says of a kernel.
std::string error_of(DeviceMemory& memory, const Grid& grid,
                     const std::function<void(FiberThread&)>& kernel) {
  try {
    run_blocks(memory, grid, kernel);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}

TEST(BlockExecutor, RunsEveryThreadOfEveryBlock) {
  DeviceMemory memory;
  auto* out = memory.blank<int>(3 * 2 * 64, "out");
  run_blocks(memory, {.x = 3, .y = 2, .threads = 64}, [&](FiberThread& t) {
    t.store(out + (t.block_y() * 3 + t.block_x()) * 64 + t.index(), t.index() + t.block_x());
  });
  const auto values = memory.values(out);
  for (int i = 0; i < 3 * 2 * 64; ++i) {
    EXPECT_EQ(values[static_cast<std::size_t>(i)], i % 64 + i / 64 % 3);
  }
}

TEST(BlockExecutor, BarriersSeparateWritesFromReads) {
  DeviceMemory memory;
  auto* out = memory.blank<int>(96, "out");
  run_blocks(memory, {.threads = 96, .shared_bytes = 96 * 4}, [&](FiberThread& t) {
    int* shared = t.shared<int>(0, 96);
    for (int round = 0; round < 3; ++round) {
      shared[t.index()] = 1000 * round + t.index();
      t.sync();
      const int next = shared[(t.index() + 1) % 96];
      t.sync();
      if (round == 2) t.store(out + t.index(), next);
    }
  });
  EXPECT_EQ(memory.values(out)[0], 2001);
  EXPECT_EQ(memory.values(out)[95], 2000);
}

TEST(BlockExecutor, ShufflesMoveValuesBetweenLanes) {
  DeviceMemory memory;
  auto* sums = memory.blank<double>(64, "sums");
  auto* next = memory.blank<std::int64_t>(64, "next");
  run_blocks(memory, {.threads = 64}, [&](FiberThread& t) {
    double sum = t.index();
    for (int mask = 1; mask < 32; mask *= 2) sum += t.shuffle_xor(sum, mask);
    t.store(sums + t.index(), sum);
    t.store(next + t.index(), t.shuffle_down(std::int64_t{t.index()}, 3));
  });
  EXPECT_THAT(memory.values(sums), testing::Contains(31 * 16.0).Times(32));
  const auto shifted = memory.values(next);
  EXPECT_EQ(shifted[0], 3);
  EXPECT_EQ(shifted[28], 31);
  EXPECT_EQ(shifted[30], 30);  // nobody is there: one's own
  EXPECT_EQ(shifted[32], 35);
}

TEST(BlockExecutor, NamesTheThreadsThatMissABarrier) {
  DeviceMemory memory;
  const auto said = error_of(memory, {.threads = 64}, [](FiberThread& t) {
    if (t.index() < 40) t.sync();
  });
  EXPECT_THAT(said, AllOf(HasSubstr("threads 0 to 39 wait at a barrier"),
                          HasSubstr("threads 40 to 63 have returned")));
}

TEST(BlockExecutor, FindsBarriersAtDifferentPlaces) {
  DeviceMemory memory;
  const auto said = error_of(memory, {.threads = 32}, [](FiberThread& t) {
    if (t.index() < 8) {
      t.sync();
    } else {
      t.sync();
    }
  });
  EXPECT_THAT(said, HasSubstr("threads 8 to 31 wait at a barrier"));
}

TEST(BlockExecutor, NamesTheLanesThatMissAShuffle) {
  DeviceMemory memory;
  const auto said = error_of(memory, {.threads = 64}, [](FiberThread& t) {
    if (t.index() != 33) t.shuffle_xor(1.0f, 1);
  });
  EXPECT_THAT(said, AllOf(HasSubstr("threads 33 to 33 have returned"),
                          HasSubstr("threads 34 to 63 wait at shuffle_xor by 1")));
}

TEST(BlockExecutor, FindsAccessesOutsideAnArray) {
  DeviceMemory memory;
  const auto* in = memory.constant(std::vector<float>(10), "in");
  EXPECT_THAT(error_of(memory, {}, [&](FiberThread& t) { t.load(in + t.index()); }),
              HasSubstr("block 0, thread 10: 4 bytes at byte 40 of in, which has 40: outside"));
  EXPECT_THAT(error_of(memory, {}, [&](FiberThread& t) { t.load(in - t.index()); }),
              HasSubstr("at byte -4 of in"));
  EXPECT_THAT(error_of(memory, {}, [&](FiberThread& t) { t.load(in + 100000); }),
              HasSubstr("an address in no array"));
}

TEST(BlockExecutor, FindsLoadsThatAreNotAligned) {
  DeviceMemory memory;
  const auto* in = memory.constant(std::vector<float>(10), "in");
  EXPECT_THAT(error_of(memory, {}, [&](FiberThread& t) { t.load(as_pack<4>(in + 2)); }),
              HasSubstr("16 bytes at byte 8 of in, which has 40: not aligned to 16"));
}

TEST(BlockExecutor, FindsWritesToConstants) {
  DeviceMemory memory;
  auto* in = const_cast<float*>(memory.constant(std::vector<float>(32), "in"));
  EXPECT_THAT(error_of(memory, {}, [&](FiberThread& t) { t.store(in + t.index(), 1.0f); }),
              HasSubstr("writes to in, a constant"));
}

TEST(BlockExecutor, FindsBlocksThatTouchTheSameBytes) {
  DeviceMemory memory;
  auto* out = memory.blank<int>(64, "out");
  const Grid grid{.x = 2};
  EXPECT_THAT(error_of(memory, grid, [&](FiberThread& t) { t.store(out + t.index(), 1); }),
              HasSubstr("block 1, thread 0: writes to out where block 0 writes"));
  // The first block reads before the second one writes: seen when they run the other way round.
  EXPECT_THAT(error_of(memory, grid,
                       [&](FiberThread& t) {
                         if (t.block_x() == 0) t.load(out + t.index());
                         if (t.block_x() == 1) t.store(out + t.index(), 1);
                       }),
              HasSubstr("block 0, thread 31: reads from out what block 1 writes"));
}

TEST(BlockExecutor, FindsAMissingBarrier) {
  DeviceMemory memory;
  auto* out = memory.blank<int>(32, "out");
  EXPECT_THAT(error_of(memory, {.threads = 32, .shared_bytes = 128},
                       [&](FiberThread& t) {
                         int* shared = t.shared<int>(0, 32);
                         shared[t.index()] = t.index();
                         t.store(out + t.index(), shared[31 - t.index()]);
                       }),
              HasSubstr("the order of the threads or of the blocks changes the result"));
}

TEST(BlockExecutor, FindsSharedMemoryThatNobodyHasWritten) {
  DeviceMemory memory;
  auto* out = memory.blank<int>(32, "out");
  EXPECT_THAT(
      error_of(memory, {.threads = 32, .shared_bytes = 128},
               [&](FiberThread& t) { t.store(out + t.index(), t.shared<int>(0, 32)[t.index()]); }),
      HasSubstr("changes the result"));
}

TEST(BlockExecutor, FindsAccessesBeyondSharedMemory) {
  DeviceMemory memory;
  const Grid grid{.threads = 32, .shared_bytes = 128};
  EXPECT_THAT(error_of(memory, grid, [](FiberThread& t) { t.shared<float>(16, 29); }),
              HasSubstr("shared memory [16, 132) of a block that has 128 bytes"));
  EXPECT_THAT(
      error_of(memory, grid, [](FiberThread& t) { t.shared<float>(64, 16)[16 + t.index()] = 0; }),
      HasSubstr("block 0 writes beyond its shared memory of 128 bytes"));
}

TEST(BlockExecutor, CopiesArriveWhenTheyAreWaitedFor) {
  using Words = Pack<std::uint32_t, 4>;
  DeviceMemory memory;
  const auto* in = memory.constant(std::vector<Words>(64, Words{{1, 2, 3, 4}}), "in");
  auto* out = memory.blank<Words>(64, "out");
  const Grid grid{.shared_bytes = 2 * 32 * sizeof(Words)};
  const auto copy = [&](FiberThread& t, bool waits) {
    Words* shared = t.shared<Words>(0, 64);
    t.copy_async(shared + t.index(), in + t.index(), true);
    t.commit_copies();
    t.copy_async(shared + 32 + t.index(), in + 1000, t.index() < 0);  // not there
    t.commit_copies();
    if (waits) t.wait_copies<1>();
    t.store(out + t.index(), shared[t.index()]);
    if (waits) t.wait_copies<0>();
    t.store(out + 32 + t.index(), waits ? shared[32 + t.index()] : Words{});
  };
  run_blocks(memory, grid, [&](FiberThread& t) { copy(t, true); });
  EXPECT_EQ(memory.values(out)[31][3], 4u);
  EXPECT_EQ(memory.values(out)[63][3], 0u);
  EXPECT_THAT(error_of(memory, grid, [&](FiberThread& t) { copy(t, false); }),
              HasSubstr("changes the result"));
}

// A rank writes a value into another's memory and then a word; the other waits for the word. What
// the value's reader saw.
int seen_after_the_word(bool meets, bool releases, unsigned seed) {
  DeviceMemory one, other;
  auto* value = other.variable(std::vector<int>(32), "value");
  auto* word = other.variable(std::vector<std::uint64_t>(1), "word");
  auto* seen = other.blank<int>(1, "seen");
  one.map(value, 32 * sizeof(int), "the other's value");
  one.map(word, sizeof *word, "the other's word");
  const auto writer = [=](FiberThread& t) {
    t.store(value + t.index(), 5);
    if (meets) t.sync();
    if (t.index() == 0 && releases) t.store_release(word, 1);
    if (t.index() == 0 && !releases) t.store(word, std::uint64_t{1});
    t.sync();  // and has not ended yet
    for (int i = 0; i < 100; ++i) t.sync();
  };
  const auto reader = [=](FiberThread& t) {
    while (t.index() == 0 && t.load_acquire(word) == 0) {
    }
    t.sync();
    if (t.index() == 0) t.store(seen, t.load(value + 31));
  };
  const std::vector<RankLaunches> ranks{{&one, {{Grid{}, writer}}}, {&other, {{Grid{}, reader}}}};
  run_together(ranks, 1, seed);
  return other.values(seen)[0];
}

TEST(BlocksOfRanks, SeeWhatAnotherHasReleasedAfterItsBarrier) {
  for (unsigned seed = 1; seed <= 8; ++seed) EXPECT_EQ(seen_after_the_word(true, true, seed), 5);
}

// Without a barrier a thread releases its own stores alone; the other threads' come when they come.
TEST(BlocksOfRanks, MayNotSeeWhatWasNotReleased) {
  int missed = 0;
  for (unsigned seed = 1; seed <= 8; ++seed) missed += seen_after_the_word(false, true, seed) != 5;
  EXPECT_GT(missed, 0);
}

// A store that is not released comes with the launch's end at the latest, and the value with it.
TEST(BlocksOfRanks, SeeEverythingWhenALaunchHasEnded) {
  EXPECT_EQ(seen_after_the_word(true, false, 1), 5);
}

TEST(BlocksOfRanks, TakeTurnsInAnOrderThatTheSeedDraws) {
  const auto order = [](unsigned seed) {
    DeviceMemory memories[2];
    std::vector<int> entered;
    std::vector<RankLaunches> ranks;
    for (int rank = 0; rank < 2; ++rank) {
      const auto note = [&entered, rank](FiberThread& t) {
        if (t.index() == 0) entered.push_back(10 * rank + t.block_x());
      };
      ranks.push_back({&memories[rank], {{Grid{.x = 3}, note}, {Grid{.x = 2}, note}}});
    }
    run_together(ranks, 2, seed);
    return entered;
  };
  EXPECT_EQ(order(1), order(1));
  EXPECT_NE(order(1), order(2));
  EXPECT_THAT(order(1), testing::UnorderedElementsAre(0, 1, 2, 0, 1, 10, 11, 12, 10, 11));
}

TEST(BlocksOfRanks, AreCheckedForWhatTheyTouch) {
  DeviceMemory one, other;
  auto* value = other.variable(std::vector<int>(8), "value");
  const auto store = [=](FiberThread& t) { t.store(value + t.index(), 1); };
  const std::vector<RankLaunches> ranks{{&one, {{Grid{}, store}}}};
  const auto error = [&] {
    try {
      run_together(ranks, 1, 1);
    } catch (const Error& error) {
      return std::string(error.what());
    }
    return std::string("no error");
  };
  EXPECT_THAT(error(), HasSubstr("an address in no array"));
  one.map(value, 8 * sizeof(int), "the other's");
  EXPECT_THAT(error(), HasSubstr("of the other's, which has 32: outside"));
}

TEST(BlockExecutor, PutsMemoryBackBetweenItsTwoRuns) {
  DeviceMemory memory;
  auto* values = memory.variable(std::vector<int>(32, 5), "values");
  run_blocks(memory, {},
             [&](FiberThread& t) { t.store(values + t.index(), t.load(values + t.index()) + 1); });
  EXPECT_THAT(memory.values(values), Each(6));
}

TEST(BlockExecutor, PassesOnWhatAKernelThrows) {
  DeviceMemory memory;
  EXPECT_EQ(error_of(memory, {}, [](FiberThread&) { throw Error("from inside"); }), "from inside");
}

TEST(BlockExecutor, RefusesGridsThatAGpuWouldRefuse) {
  DeviceMemory memory;
  const auto nothing = [](FiberThread&) {};
  EXPECT_EQ(error_of(memory, {.threads = 33}, nothing), "a block of 33 threads");
  EXPECT_EQ(error_of(memory, {.threads = 2048}, nothing), "a block of 2048 threads");
  EXPECT_EQ(error_of(memory, {.y = 65536}, nothing), "a grid of 1 by 65536");
  EXPECT_THAT(error_of(memory, {.shared_bytes = 1 << 20}, nothing), HasSubstr("1048576 bytes"));
}

TEST(BlockExecutor, NoticesWhatIsTouchedBeforeEarlierKernelsAreWaitedFor) {
  DeviceMemory memory;
  const auto* weights = memory.constant<int>({1, 2}, "weights");
  auto* x = memory.variable<int>({3, 4}, "x");
  const auto kernel = [&](bool reads, bool writes) {
    return [=](FiberThread& t) {
      t.begins_early();
      int value = t.load(weights);
      if (reads) value += t.load(x);
      if (writes && t.index() == 0) t.store(x, value);
      t.wait_for_earlier();
      if (t.index() == 1) t.store(x + 1, t.load(x + 1));
    };
  };
  EXPECT_EQ(error_of(memory, {}, kernel(true, true)), "no error");
  memory.require_waiting();
  EXPECT_EQ(error_of(memory, {}, kernel(false, false)), "no error");
  EXPECT_THAT(error_of(memory, {}, kernel(true, false)), HasSubstr("reads from x before it waits"));
  EXPECT_THAT(error_of(memory, {}, kernel(false, true)), HasSubstr("writes to x before it waits"));
}

}  // namespace
}  // namespace lockstep::kernels::cuda

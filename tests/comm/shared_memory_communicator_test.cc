#include "comm/shared_memory_communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <thread>

#include "comm/random_token.h"
#include "tests/comm/communicator_suite.h"

namespace lockstep::comm {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr milliseconds kAmple{60000};
// Small slots, so that the larger sizes take many rounds and the smaller ones a single one.
constexpr std::size_t kSmallSlots = 64 * 1024;

std::string random_name() { return "/lockstep-test-" + random_token(); }

using Body = std::function<void(Communicator&)>;

// Ranks as threads, each with its own mapping of the segment.
void run_threads(int size, milliseconds deadline, const Body& body) {
  const std::string name = random_name();
  std::vector<std::string> failures(size);
  {
    std::vector<std::jthread> threads;
    for (int rank = 0; rank < size; ++rank) {
      threads.emplace_back([&, rank] {
        try {
          SharedMemoryCommunicator ranks(name, rank, size, deadline, kSmallSlots);
          body(ranks);
        } catch (const std::exception& error) {
          failures[rank] = error.what();
        }
      });
    }
  }
  EXPECT_THAT(failures, testing::Each("")) << "by rank";
}

// A rank in a forked process, killed and collected at the latest when this object goes.
class ForkedRank {
 public:
  ForkedRank(const std::string& name, int rank, int size, milliseconds deadline, const Body& body)
      : process_(fork()) {
    if (process_ != 0) return;
    try {
      SharedMemoryCommunicator ranks(name, rank, size, deadline, kSmallSlots);
      body(ranks);
    } catch (const std::exception& error) {
      std::fprintf(stderr, "rank %d: %s\n", rank, error.what());
      _exit(1);
    }
    _exit(0);
  }
  ~ForkedRank() {
    if (process_ <= 0) return;
    kill(process_, SIGKILL);
    waitpid(process_, nullptr, 0);
  }
  ForkedRank(const ForkedRank&) = delete;
  ForkedRank& operator=(const ForkedRank&) = delete;

  pid_t process() const { return process_; }
  int exit_status() {
    int status = 0;
    waitpid(std::exchange(process_, 0), &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }

 private:
  pid_t process_;
};

class SharedMemoryWorld : public testing::TestWithParam<int> {};

TEST_P(SharedMemoryWorld, MovesEveryByteToItsPlaceInEverySize) {
  run_threads(GetParam(), kAmple, check_collectives);
}

TEST_P(SharedMemoryWorld, KeepsAFastRankFromOverwritingWhatASlowOneReads) {
  run_threads(GetParam(), kAmple, check_many_small_operations);
}

TEST_P(SharedMemoryWorld, GathersInPlace) {
  run_threads(GetParam(), kAmple, check_gather_in_place);
}

INSTANTIATE_TEST_SUITE_P(SharedMemory, SharedMemoryWorld, testing::Values(1, 2, 3, 4, 8),
                         testing::PrintToStringParamName());

TEST(SharedMemory, JoinsProcesses) {
  const std::string name = random_name();
  ForkedRank one(name, 1, 3, kAmple, check_collectives);
  ForkedRank two(name, 2, 3, kAmple, check_collectives);
  SharedMemoryCommunicator ranks(name, 0, 3, kAmple, kSmallSlots);
  EXPECT_NO_THROW(check_collectives(ranks));
  EXPECT_EQ(one.exit_status(), 0);
  EXPECT_EQ(two.exit_status(), 0);
}

bool name_exists(const std::string& name) { return access(("/dev/shm" + name).c_str(), F_OK) == 0; }

TEST(SharedMemory, LeavesNoNameBehindOnceAllHaveJoined) {
  const std::string name = random_name();
  ForkedRank one(name, 1, 2, kAmple, [](Communicator& ranks) { ranks.barrier("only"); });
  SharedMemoryCommunicator ranks(name, 0, 2, kAmple, kSmallSlots);
  EXPECT_FALSE(name_exists(name));
  ranks.barrier("only");
  EXPECT_EQ(one.exit_status(), 0);
}

TEST(SharedMemory, NamesTheRankThatNeverJoinsAndRemovesTheName) {
  const std::string name = random_name();
  try {
    SharedMemoryCommunicator ranks(name, 0, 3, milliseconds(100), kSmallSlots);
    FAIL() << "joined alone";
  } catch (const CollectiveTimeout& error) {
    EXPECT_THAT(error.missing_ranks(), ElementsAre(1, 2));
    EXPECT_THAT(error.what(), HasSubstr("rank 1 did not arrive at 'joining the shared memory'"));
  }
  EXPECT_FALSE(name_exists(name));
  EXPECT_THROW(SharedMemoryCommunicator(name, 1, 2, milliseconds(50), kSmallSlots), Error);
}

TEST(SharedMemory, NamesAStoppedProcessAndWhereItWas) {
  constexpr milliseconds kDeadline{2000};
  const std::string name = random_name();
  ForkedRank one(name, 1, 3, kAmple, [](Communicator& ranks) {
    ranks.barrier("layer 0 attention");
    raise(SIGSTOP);
  });
  ForkedRank two(name, 2, 3, kAmple, [](Communicator& ranks) {
    ranks.barrier("layer 0 attention");
    ranks.barrier("layer 0 mlp");
  });
  SharedMemoryCommunicator ranks(name, 0, 3, kDeadline, kSmallSlots);
  ranks.barrier("layer 0 attention");
  const auto start = std::chrono::steady_clock::now();
  try {
    ranks.barrier("layer 0 mlp");
    FAIL() << "no timeout";
  } catch (const CollectiveTimeout& error) {
    EXPECT_THAT(error.missing_ranks(), ElementsAre(1));
    EXPECT_STREQ(error.what(),
                 "rank 1 did not arrive at 'layer 0 mlp' (operation 2) within 2000 ms; it was last "
                 "in 'layer 0 attention' (operation 1)");
  }
  EXPECT_GE(std::chrono::steady_clock::now() - start, kDeadline);
  EXPECT_THROW(ranks.barrier("after a timeout"), Error);
}

TEST(SharedMemory, NamesARankThatDiesInTheMiddleOfALongMessage) {
  const std::string name = random_name();
  ForkedRank one(name, 1, 2, kAmple, [](Communicator& ranks) {
    ranks.barrier("start");
    _exit(3);
  });
  SharedMemoryCommunicator ranks(name, 0, 2, milliseconds(2000), kSmallSlots);
  ranks.barrier("start");
  std::vector<std::byte> mine(3 << 20), all(6 << 20);
  const std::vector<std::size_t> counts{3 << 20, 3 << 20};
  EXPECT_THROW(ranks.all_gather(mine, all, counts, "long"), CollectiveTimeout);
  EXPECT_EQ(one.exit_status(), 3);
}

TEST(SharedMemory, RefusesRanksWhoseCallsDoNotMatch) {
  const auto failure_of = [](const Body& zero, const Body& one) {
    const std::string name = random_name();
    std::string text;
    std::jthread other([&] {
      SharedMemoryCommunicator ranks(name, 1, 2, kAmple, kSmallSlots);
      try {
        one(ranks);
      } catch (const Error&) {  // rank 0's text is what the test looks at
      }
    });
    SharedMemoryCommunicator ranks(name, 0, 2, kAmple, kSmallSlots);
    try {
      zero(ranks);
    } catch (const Error& error) {
      text = error.what();
    }
    return text;
  };
  const auto gather = [](std::size_t count) {
    return [count](Communicator& ranks) {
      std::vector<std::byte> mine(count), all(2 * count);
      ranks.all_gather(mine, all, std::vector<std::size_t>{count, count}, "gather");
    };
  };
  const Body exchange = [](Communicator& ranks) {
    std::vector<std::byte> send(8), received(8);
    const std::vector<std::size_t> counts{4, 4};
    ranks.all_to_all(send, counts, received, counts, "exchange");
  };
  EXPECT_THAT(failure_of(gather(4), gather(6)),
              HasSubstr("rank 1 brought 6 bytes to 'gather' (operation 1) where rank 0 expects 4"));
  EXPECT_THAT(failure_of(gather(4), exchange), HasSubstr("rank 1 is in another collective"));
}

TEST(SharedMemory, RefusesASlotSizeThatCannotBeDivided) {
  EXPECT_THROW(SharedMemoryCommunicator("/x", 0, 8, kAmple, 448), Error);
  EXPECT_THROW(SharedMemoryCommunicator("/x", 0, 2, kAmple, 1000), Error);
}

}  // namespace
}  // namespace lockstep::comm

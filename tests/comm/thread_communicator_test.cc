#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "tests/comm/communicator_suite.h"

namespace lockstep::comm {
namespace {

using std::chrono::milliseconds;
using testing::ElementsAre;
using testing::HasSubstr;

constexpr milliseconds kAmple{20000};

class ThreadCommunicator : public testing::TestWithParam<int> {};

TEST_P(ThreadCommunicator, MovesEveryByteToItsPlaceInEverySize) {
  spawn_ranks(GetParam(), kAmple, check_collectives);
}

TEST_P(ThreadCommunicator, KeepsAFastRankFromOverwritingWhatASlowOneReads) {
  spawn_ranks(GetParam(), kAmple, check_many_small_operations);
}

TEST_P(ThreadCommunicator, GathersInPlace) {
  spawn_ranks(GetParam(), kAmple, check_gather_in_place);
}

INSTANTIATE_TEST_SUITE_P(Worlds, ThreadCommunicator, testing::Values(1, 2, 3, 4, 8),
                         testing::PrintToStringParamName());

TEST(ThreadCommunicatorFaults, NameTheRankThatDoesNotComeInTimeAndWhereItWas) {
  std::atomic<int> timeouts = 0;
  spawn_ranks(3, milliseconds(250), [&](Communicator& ranks) {
    ranks.barrier("layer 0 attention");
    if (ranks.rank() == 1) {
      while (timeouts < 2) std::this_thread::yield();
      return;
    }
    try {
      ranks.barrier("layer 0 mlp");
      expect(false, "no timeout");
    } catch (const CollectiveTimeout& error) {
      EXPECT_THAT(error.missing_ranks(), ElementsAre(1));
      EXPECT_STREQ(
          error.what(),
          "rank 1 did not arrive at 'layer 0 mlp' (operation 2) within 250 ms; it was last "
          "in 'layer 0 attention' (operation 1)");
      ++timeouts;
    }
    EXPECT_THROW(ranks.barrier("after a timeout"), Error);
  });
  EXPECT_EQ(timeouts, 2);
}

TEST(ThreadCommunicatorFaults, RethrowTheFirstFailureWithoutWaitingForTheDeadline) {
  const auto start = std::chrono::steady_clock::now();
  try {
    spawn_ranks(4, kAmple, [&](Communicator& ranks) {
      if (ranks.rank() == 2) throw Error("the real reason");
      ranks.barrier("never");
    });
    FAIL() << "no failure was rethrown";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "the real reason");
  }
  EXPECT_LT(std::chrono::steady_clock::now() - start, kAmple / 2);
}

TEST(ThreadCommunicatorFaults, RefuseSizesThatContradictEachOther) {
  spawn_ranks(2, kAmple, [](Communicator& ranks) {
    std::vector<std::byte> mine(4), all(8);
    EXPECT_THROW(ranks.all_gather(mine, all, std::vector<std::size_t>{4}, "a"), Error);
    EXPECT_THROW(ranks.all_gather(mine, all, std::vector<std::size_t>{5, 3 + 8}, "b"), Error);
    EXPECT_THROW(ranks.all_gather(mine, all, std::vector<std::size_t>{4, 5}, "c"), Error);
    ranks.barrier("a refused call has no number");
  });
}

TEST(ThreadCommunicatorFaults, NameARankThatBringsAnotherSize) {
  try {
    spawn_ranks(2, kAmple, [](Communicator& ranks) {
      const std::size_t count = ranks.rank() == 0 ? 4 : 6;
      std::vector<std::byte> mine(count), all(2 * count);
      ranks.all_gather(mine, all, std::vector<std::size_t>{count, count}, "lanes");
    });
    FAIL() << "the mismatch passed";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr("bytes to 'lanes' (operation 1)"));
  }
}

TEST(ThreadCommunicatorClock, CountsTheTimeItWaits) {
  spawn_ranks(2, kAmple, [](Communicator& ranks) {
    if (ranks.rank() == 1) std::this_thread::sleep_for(milliseconds(30));
    ranks.barrier("wait");
    EXPECT_GE(ranks.time_spent(), ranks.rank() == 0 ? milliseconds(15) : milliseconds(0));
  });
}

}  // namespace
}  // namespace lockstep::comm

#include "comm/all_reduce_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace lockstep::comm {
namespace {

using testing::HasSubstr;

TEST(AllReduceChoice, LeavesFewRowsToKernelsWhereRanksReachEachOther) {
  for (const int ranks : {2, 5, 8}) {
    for (const AllReduce asked : {AllReduce::automatic, AllReduce::peer}) {
      EXPECT_EQ(choose_all_reduce(asked, {.ranks = ranks}).path, AllReduce::peer);
    }
    EXPECT_EQ(choose_all_reduce(AllReduce::nccl, {.ranks = ranks}).path, AllReduce::nccl);
  }
}

TEST(AllReduceChoice, SaysWhatStandsInTheWay) {
  const auto expect_reason = [](const AllReduceNeeds& needs, const char* reason) {
    const AllReduceChoice choice = choose_all_reduce(AllReduce::automatic, needs);
    EXPECT_EQ(choice.path, AllReduce::nccl);
    EXPECT_THAT(choice.reason, HasSubstr(reason));
    EXPECT_THAT([&] { choose_all_reduce(AllReduce::peer, needs); },
                testing::ThrowsMessage<Error>(
                    testing::AllOf(HasSubstr("--all-reduce peer: "), HasSubstr(reason))));
    EXPECT_EQ(choose_all_reduce(AllReduce::nccl, needs).path, AllReduce::nccl);
  };
  expect_reason({.ranks = 9}, "9 ranks are more than the 8");
  expect_reason({.ranks = 2, .one_host = false}, "several hosts");
  expect_reason({.ranks = 2, .obstacle = "rank 1 has no way to rank 0"}, "rank 1 has no way");
}

// Nothing is tried on GPUs that are too many, or far apart.
TEST(AllReduceChoice, KnowsSomeObstaclesBeforeAnythingIsTried) {
  EXPECT_EQ(obstacle_to_peers({.ranks = 8}), "");
  EXPECT_NE(obstacle_to_peers({.ranks = 16}), "");
  EXPECT_NE(obstacle_to_peers({.ranks = 2, .one_host = false}), "");
}

TEST(AllReduceChoice, OfOneRankIsNone) {
  for (const AllReduce asked : {AllReduce::automatic, AllReduce::peer, AllReduce::nccl}) {
    EXPECT_EQ(choose_all_reduce(asked, {.ranks = 1, .obstacle = "none of its business"}).path,
              AllReduce::nccl);
  }
}

TEST(WindowCount, SaysWhetherNcclMakesThem) {
  const auto expect_text = [](const WindowCount& windows, bool all, const char* text) {
    EXPECT_EQ(windows.all_made(), all) << text;
    EXPECT_THAT(windows.text(), HasSubstr(text));
  };
  expect_text({}, true, "none, of one rank");
  expect_text({.asked = 3}, false, "NCCL makes none between these GPUs");
  expect_text({.asked = 3, .made = 2}, false, "2 of 3 buffers");
  expect_text({.asked = 3, .made = 3}, true, "3 of 3 buffers");
  expect_text({.asked = 3, .told = false}, false, "?/3, for NCCL tells from 2.29 on");
  EXPECT_EQ((WindowCount{.asked = 3, .made = 2}).fraction(), "2/3");
}

TEST(AllReduceName, IsOneOfThree) {
  EXPECT_EQ(all_reduce_of("auto"), AllReduce::automatic);
  EXPECT_EQ(all_reduce_of("peer"), AllReduce::peer);
  EXPECT_EQ(all_reduce_of("nccl"), AllReduce::nccl);
  EXPECT_THAT([] { all_reduce_of("ring"); },
              testing::ThrowsMessage<Error>(HasSubstr("'ring': it is auto, peer or nccl")));
}

}  // namespace
}  // namespace lockstep::comm

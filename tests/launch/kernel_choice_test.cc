#include "launch/kernel_choice.h"

#include <gtest/gtest.h>

#include <chrono>

#include "base/error.h"

namespace lockstep::launch {
namespace {

using kernels::CpuFamily;

TEST(KernelChoice, UsesAmxWhereAllRanksHaveIt) {
  const CpuFamily all[] = {CpuFamily::amx, CpuFamily::amx};
  EXPECT_EQ(agree(all, 0), CpuFamily::amx);
  EXPECT_EQ(agree(all, 1), CpuFamily::amx);
  EXPECT_EQ(agree(std::span(all, 1), 0), CpuFamily::amx);
}

TEST(KernelChoice, LeavesAmxWhereOneRankHasNone) {
  const CpuFamily some[] = {CpuFamily::amx, CpuFamily::avx2, CpuFamily::avx512_bf16};
  EXPECT_EQ(agree(some, 0), CpuFamily::avx512_bf16);
  EXPECT_EQ(agree(some, 1), CpuFamily::avx2);
  EXPECT_EQ(agree(some, 2), CpuFamily::avx512_bf16);
}

TEST(KernelChoice, TakesTheFamilyThatIsNamedOnEveryRank) {
  comm::spawn_ranks(3, std::chrono::seconds(20), [](comm::Communicator& communicator) {
    EXPECT_EQ(settle_family("scalar", communicator), CpuFamily::scalar);
    EXPECT_THROW(settle_family("mmx", communicator), Error);
  });
}

}  // namespace
}  // namespace lockstep::launch

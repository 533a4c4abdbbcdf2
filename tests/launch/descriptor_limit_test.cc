#include "launch/descriptor_limit.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <algorithm>

namespace lockstep::launch {
namespace {

rlimit descriptors() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  return limit;
}

TEST(DescriptorLimit, IsRaisedToWhatTheSystemAllowsAndNeverLowered) {
  const rlimit before = descriptors();
  const rlimit low{.rlim_cur = 64, .rlim_max = before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &low), 0);
  raise_descriptor_limit();
  EXPECT_EQ(descriptors().rlim_cur, std::min<rlim_t>(before.rlim_max, 65'536));
  EXPECT_EQ(descriptors().rlim_max, before.rlim_max);
  if (before.rlim_max > 65'536) {
    const rlimit high{.rlim_cur = before.rlim_max, .rlim_max = before.rlim_max};
    ASSERT_EQ(setrlimit(RLIMIT_NOFILE, &high), 0);
    raise_descriptor_limit();
    EXPECT_EQ(descriptors().rlim_cur, before.rlim_max);
  }
  setrlimit(RLIMIT_NOFILE, &before);
}

}  // namespace
}  // namespace lockstep::launch

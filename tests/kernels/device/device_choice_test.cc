#include "kernels/device/device_choice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace lockstep::kernels::device {
namespace {

using testing::AllOf;
using testing::HasSubstr;

VisibleDevices host_with(int devices) {
  VisibleDevices found{.driver_version = 13010, .runtime_version = 13000, .architectures = "90a"};
  for (int i = 0; i < devices; ++i) {
    found.devices.push_back({"NVIDIA H200", "0000:0" + std::to_string(i) + ":00.0", 9, 0, 1 << 30});
  }
  return found;
}

std::string refusal(const VisibleDevices& found, int local_rank = 0, int local_ranks = 1) {
  try {
    return "took device " + std::to_string(choose_device(found, local_rank, local_ranks));
  } catch (const Error& error) {
    return error.what();
  }
}

TEST(DeviceChoice, GivesEachRankOfAHostItsOwn) {
  for (int rank = 0; rank < 4; ++rank) EXPECT_EQ(choose_device(host_with(4), rank, 4), rank);
  EXPECT_EQ(choose_device(host_with(8), 1, 2), 1);
}

TEST(DeviceChoice, TakesTheOnlyOneThatALauncherShows) {
  for (int rank = 0; rank < 4; ++rank) EXPECT_EQ(choose_device(host_with(1), rank, 4), 0);
}

TEST(DeviceChoice, NamesAMissingDriver) {
  VisibleDevices found = host_with(0);
  found.driver_version = 0;
  found.failure = "CUDA driver version is insufficient for CUDA runtime version";
  EXPECT_THAT(refusal(found), AllOf(HasSubstr("no CUDA driver"), HasSubstr("CUDA 13.0")));
}

TEST(DeviceChoice, NamesADriverThatIsTooOld) {
  VisibleDevices found = host_with(1);
  found.driver_version = 12080;
  EXPECT_THAT(refusal(found), AllOf(HasSubstr("up to CUDA 12.8"), HasSubstr("newer driver")));
}

TEST(DeviceChoice, TakesADriverOfTheSameMajorVersion) {
  VisibleDevices found = host_with(1);
  found.runtime_version = 13020;
  EXPECT_EQ(choose_device(found, 0, 1), 0);
}

TEST(DeviceChoice, SaysWhatHidesTheDevices) {
  VisibleDevices found = host_with(0);
  found.failure = "no CUDA-capable device is detected";
  EXPECT_THAT(refusal(found), AllOf(HasSubstr("shows no device"), HasSubstr("is not set"),
                                    HasSubstr("no CUDA-capable device is detected")));
  found.filtered = true;
  found.filter = "7";
  EXPECT_THAT(refusal(found), HasSubstr("CUDA_VISIBLE_DEVICES is '7'"));
}

TEST(DeviceChoice, RefusesMoreRanksThanDevicesOnEveryRank) {
  for (int rank = 0; rank < 3; ++rank) {
    EXPECT_THAT(refusal(host_with(2), rank, 3),
                AllOf(HasSubstr("3 ranks"), HasSubstr("2 CUDA devices"),
                      HasSubstr("1: NVIDIA H200 at 0000:01:00.0")));
  }
}

TEST(DeviceChoice, RefusesADeviceThatTheBuildHasNoCodeFor) {
  VisibleDevices found = host_with(1);
  found.devices[0] = {"NVIDIA A100", "0000:01:00.0", 8, 0, 1 << 30};
  EXPECT_THAT(refusal(found), AllOf(HasSubstr("sm_90a"), HasSubstr("NVIDIA A100"), HasSubstr("8.0"),
                                    HasSubstr("cuda-release-sm80")));
  found.architectures = "90a,80";
  EXPECT_EQ(choose_device(found, 0, 1), 0);
}

TEST(DeviceChoice, KnowsWhichDevicesRunWhichCode) {
  EXPECT_TRUE(runs_on("80", 8, 0));
  EXPECT_TRUE(runs_on("80", 9, 0)) << "compiled further by the driver";
  EXPECT_FALSE(runs_on("89", 8, 0));
  EXPECT_TRUE(runs_on("90a", 9, 0));
  EXPECT_FALSE(runs_on("90a", 10, 0)) << "instructions of one architecture alone";
  EXPECT_TRUE(runs_on("100", 12, 0));
}

}  // namespace
}  // namespace lockstep::kernels::device

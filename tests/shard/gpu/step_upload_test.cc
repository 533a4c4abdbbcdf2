#include "shard/gpu/step_upload.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "base/error.h"
#include "tests/kernels/cuda/executed_gpu.h"

namespace lockstep::shard {
namespace {

TEST(StepUpload, BringsEveryPieceWhereItSaid) {
  kernels::cuda::ExecutedGpu gpu;
  StepUpload upload(gpu, 4 * StepUpload::kAlignment, [](kernels::cuda::Mark&) {});
  upload.begin();
  const auto first = upload.add<std::int32_t>(3);
  const auto none = upload.add<double>(0);
  const auto second = upload.add<double>(2);
  for (std::size_t i = 0; i < 3; ++i) first.host[i] = static_cast<std::int32_t>(10 + i);
  second.host[0] = 0.5;
  second.host[1] = 1.5;
  EXPECT_TRUE(none.host.empty());
  upload.send();
  EXPECT_EQ(std::memcmp(first.device, first.host.data(), 12), 0);
  EXPECT_EQ(std::memcmp(second.device, second.host.data(), 16), 0);
}

// A recording holds the device's addresses; the host writes a step while the one before is copied.
TEST(StepUpload, TakesTurnsOnTheHostAndStaysOnTheDevice) {
  kernels::cuda::ExecutedGpu gpu(kernels::cuda::Runs::twice, kernels::cuda::Doing::when_asked);
  int waits = 0;
  StepUpload upload(gpu, 2 * StepUpload::kAlignment, [&](kernels::cuda::Mark& copied) {
    ++waits;
    copied.wait("a copy");
  });
  std::vector<const std::int32_t*> device, host;
  const auto step = [&](std::int32_t value) {
    upload.begin();
    upload.add<std::int32_t>(5);
    const auto piece = upload.add<std::int32_t>(1);
    piece.host[0] = value;
    device.push_back(piece.device);
    host.push_back(piece.host.data());
    upload.send();
  };
  for (const std::int32_t value : {10, 20, 30}) step(value);
  EXPECT_EQ(device[0], device[1]);
  EXPECT_EQ(device[0], device[2]);
  EXPECT_NE(host[0], host[1]);
  EXPECT_EQ(host[0], host[2]);
  EXPECT_EQ(waits, 1);        // for the first copy, before the third step
  EXPECT_EQ(*device[0], 10);  // and for no other
  gpu.synchronize("all");
  EXPECT_EQ(*device[0], 30);
  step(40);
  EXPECT_EQ(waits, 1);
}

TEST(StepUpload, RefusesMoreThanItHasRoomFor) {
  kernels::cuda::ExecutedGpu gpu;
  StepUpload upload(gpu, StepUpload::kAlignment, [](kernels::cuda::Mark&) {});
  upload.begin();
  upload.add<std::byte>(StepUpload::kAlignment);
  EXPECT_THAT([&] { upload.add<std::byte>(1); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("more than 256 bytes")));
}

}  // namespace
}  // namespace lockstep::shard

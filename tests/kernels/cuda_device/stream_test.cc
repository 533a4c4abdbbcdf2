#include "kernels/cuda/stream.h"

#include <vector>

#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/event.h"
#include "tests/kernels/cuda_device/device_fixture.h"
#include "tests/kernels/cuda_device/test_kernels.h"

namespace lockstep::kernels::cuda {
namespace {

constexpr int kDelay = 50;  // ms

class CudaStream : public OnDevice {
 protected:
  void SetUp() override {
    OnDevice::SetUp();
    if (IsSkipped()) return;
    value_ = DeviceBuffer<int>(pool(), "value", 1);
    value_.upload(std::vector<int>{1}, stream());
    stream().synchronize();
  }
  int* value() { return value_.data(); }
  int result() {
    std::vector<int> result(1);
    value_.download(result, stream());
    stream().synchronize();
    return result[0];
  }

 private:
  DeviceBuffer<int> value_;
};

TEST_F(CudaStream, RunsItsWorkInOrder) {
  delayed_multiply_add(value(), 3, 0, kDelay, stream());
  delayed_multiply_add(value(), 1, 1, 0, stream());
  EXPECT_EQ(result(), 4);  // 6 the other way round
}

TEST_F(CudaStream, WaitsForAnEventOfAnother) {
  const Stream other(device());
  Event multiplied(device());
  delayed_multiply_add(value(), 3, 0, kDelay, stream());
  multiplied.record(stream());
  other.wait_for(multiplied);
  delayed_multiply_add(value(), 1, 1, 0, other);
  other.synchronize();
  EXPECT_TRUE(multiplied.reached());
  EXPECT_EQ(result(), 4);
}

TEST_F(CudaStream, IsIdleWhenItsWorkIsDone) {
  Event end(device());
  delayed_multiply_add(value(), 3, 0, 20 * kDelay, stream());
  end.record(stream());
  EXPECT_FALSE(stream().idle());
  EXPECT_FALSE(end.reached());
  end.synchronize();
  EXPECT_TRUE(stream().idle());
}

TEST_F(CudaStream, RunsBesideOthers) {
  const Stream other(device());
  delayed_multiply_add(value(), 3, 0, 20 * kDelay, stream());
  EXPECT_TRUE(other.idle());
  other.synchronize();
  EXPECT_FALSE(stream().idle());
}

TEST_F(CudaStream, IsTimedByTwoEvents) {
  Event begin(device(), Event::Timing::on);
  Event end(device(), Event::Timing::on);
  begin.record(stream());
  delayed_multiply_add(value(), 1, 0, kDelay, stream());
  end.record(stream());
  end.synchronize();
  EXPECT_GE(time_between(begin, end, device()), std::chrono::milliseconds(kDelay));
}

}  // namespace
}  // namespace lockstep::kernels::cuda

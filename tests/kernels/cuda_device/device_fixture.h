// A GPU for a test, or the test's being skipped by name.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "base/error.h"
#include "kernels/cuda/device.h"
#include "kernels/cuda/memory_pool.h"
#include "kernels/cuda/stream.h"
#include "kernels/cuda/visible_devices.h"

namespace lockstep::kernels::cuda {

// Why no test can run on a GPU here; empty when one can.
inline std::string why_no_device() {
  try {
    device::choose_device(find_devices(), 0, 1);
    return "";
  } catch (const Error& error) {
    return error.what();
  }
}

// Gives each test the first visible device, a pool of its memory and a stream.
class OnDevice : public testing::Test {
 protected:
  void SetUp() override {
    if (const std::string reason = why_no_device(); !reason.empty()) GTEST_SKIP() << reason;
    device_.emplace(find_devices(), kRank, 0, 1);
    pool_.emplace(*device_);
    stream_.emplace(*device_);
  }

  static constexpr int kRank = 3;  // as errors name it
  const Device& device() { return *device_; }
  DevicePool& pool() { return *pool_; }
  const Stream& stream() { return *stream_; }

  // What a call that must fail says.
  template <class Call>
  static std::string error_of(Call call) {
    try {
      call();
    } catch (const Error& error) {
      return error.what();
    }
    return "no error";
  }

 private:
  std::optional<Device> device_;
  std::optional<DevicePool> pool_;
  std::optional<Stream> stream_;
};

}  // namespace lockstep::kernels::cuda

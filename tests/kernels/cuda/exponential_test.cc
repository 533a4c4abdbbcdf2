#include "kernels/cuda/exponential.cuh"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>

namespace lockstep::kernels::cuda {
namespace {

TEST(CudaExponential, IsNearTheExponentialOfWhatIsNotPositive) {
  for (float a = 0.0f; a > -87.0f; a -= 0.0137f) {
    const double expected = std::exp(double{a});
    EXPECT_NEAR(exp_nonpositive(a), expected, expected * 0x1p-22) << a;
  }
  EXPECT_EQ(exp_nonpositive(-0.0f), 1.0f);
  EXPECT_EQ(exp_nonpositive(-INFINITY), exp_nonpositive(-87.0f));
}

// A GPU's arithmetic makes the first of them, a CPU's the second.
TEST(CudaExponential, OfWhatIsNoNumberIsNone) {
  for (const std::uint32_t bits : {0x7fffffffu, 0xffc00000u, 0x7fc00000u, 0x7f800001u}) {
    EXPECT_TRUE(std::isnan(exp_nonpositive(std::bit_cast<float>(bits)))) << std::hex << bits;
  }
}

}  // namespace
}  // namespace lockstep::kernels::cuda

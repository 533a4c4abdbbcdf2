#include "kernels/token_weight.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace lockstep::kernels {
namespace {

double relative_error(float distance) {
  const double exact = std::exp(static_cast<double>(distance)) * 0x1p42;
  return (static_cast<double>(token_weight(distance)) - exact) / exact;
}

TEST(TokenWeight, IsTheExponential) {
  for (float distance = 0.0f; distance > -13.0f; distance -= 0.00123f) {  // of 2^23 and more
    ASSERT_NEAR(relative_error(distance), 0.0, 3e-7) << distance;
  }
  for (float distance = -13.0f; distance > -40.0f; distance -= 0.01f) {  // rounded down
    const double exact = std::exp(static_cast<double>(distance)) * 0x1p42;
    const auto weight = static_cast<double>(token_weight(distance));
    ASSERT_LE(weight, exact * (1 + 3e-7)) << distance;
    ASSERT_GT(weight, exact * (1 - 3e-7) - 1) << distance;
  }
}

TEST(TokenWeight, HasItsUnitAtTheTopAndIsZeroFarAwayAndForNaN) {
  EXPECT_EQ(token_weight(0.0f), std::uint64_t{1} << kWeightBits);
  EXPECT_EQ(token_weight(-0.0f), std::uint64_t{1} << kWeightBits);
  EXPECT_EQ(token_weight(-29.2f), 0u);
  EXPECT_EQ(token_weight(-std::numeric_limits<float>::max()), 0u);
  EXPECT_EQ(token_weight(-std::numeric_limits<float>::infinity()), 0u);
  EXPECT_EQ(token_weight(std::nanf("")), 0u);
}

// The sum of as many tokens as there may be does not overflow.
TEST(TokenWeight, LeavesRoomForEveryToken) {
  EXPECT_LE(static_cast<std::uint64_t>(kMostWeighedTokens),
            std::numeric_limits<std::uint64_t>::max() / token_weight(0.0f));
}

TEST(WeightNeeded, IsTheLeastWholeNumberThatReachesTheShare) {
  EXPECT_EQ(weight_needed(0.5f, 10), 5u);
  EXPECT_EQ(weight_needed(0.5f, 11), 6u);
  EXPECT_EQ(weight_needed(1e-30f, 11), 1u);
  EXPECT_EQ(weight_needed(0.75f, std::uint64_t{1} << 62), std::uint64_t{3} << 60);
}

TEST(LogOfWeights, IsTheLogarithmOfTheSumOfExponentials) {
  const std::uint64_t total = token_weight(0.0f) + token_weight(-1.0f) + token_weight(-3.5f);
  EXPECT_NEAR(log_of_weights(total, 17.25f),
              17.25 + std::log(1.0 + std::exp(-1.0) + std::exp(-3.5)), 3e-7);
}

}  // namespace
}  // namespace lockstep::kernels

#include "kernels/deterministic_math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>

#include "kernels/token_noise.h"

namespace lockstep::kernels {
namespace {

TEST(DeterministicMath, LogAgreesWithTheLibraryOverAllMagnitudes) {
  std::mt19937_64 random(1);
  std::uniform_real_distribution<double> exponent(-1000.0, 1000.0);
  for (int i = 0; i < 200000; ++i) {
    const double x = std::exp2(exponent(random));
    ASSERT_NEAR(deterministic_log(x), std::log(x), 1e-14 * std::fabs(std::log(x))) << x;
  }
}

TEST(DeterministicMath, LogKeepsItsPrecisionNextToOne) {
  for (double distance = 0.25; distance > 1e-15; distance /= 3) {
    for (const double x : {1.0 - distance, 1.0 + distance}) {
      ASSERT_NEAR(deterministic_log(x), std::log(x), 1e-14 * std::fabs(std::log(x))) << distance;
    }
  }
  EXPECT_EQ(deterministic_log(1.0), 0.0);
}

TEST(DeterministicMath, ExpAgreesWithTheLibrary) {
  for (double x = -700.0; x < 700.0; x += 0.00371) {
    ASSERT_NEAR(deterministic_exp(x), std::exp(x), 1e-13 * std::exp(x)) << x;
  }
  EXPECT_EQ(deterministic_exp(0.0), 1.0);
}

TEST(DeterministicMath, ExpOfTheImpossibleIsZero) {
  EXPECT_EQ(deterministic_exp(-std::numeric_limits<double>::infinity()), 0.0);
  EXPECT_EQ(deterministic_exp(std::nan("")), 0.0);
  EXPECT_EQ(deterministic_exp(-1e300), 0.0);
}

// Bits written down once: they must come out on every machine and of every compiler.
TEST(DeterministicMath, GivesTheRecordedBits) {
  EXPECT_EQ(deterministic_log(0.1), -0x1.26bb1bbb55515p+1);
  EXPECT_EQ(deterministic_log(12345.678), 0x1.2d79559791e31p+3);
  EXPECT_EQ(deterministic_exp(-1.0), 0x1.78b56362cef2bp-2);
  EXPECT_EQ(deterministic_exp(-33.3), 0x1.f165bb9b59d94p-49);
  EXPECT_EQ(gumbel_noise(0.0f), -0x1.6d1a3ap+1f);
  EXPECT_EQ(gumbel_noise(0.5f), 0x1.774f3p-2f);
  EXPECT_EQ(gumbel_noise(1.0f - 0x1p-24f), 0x1.154246p+4f);
}

// The search that skips tokens rests on this, so all 2^24 numbers are tried.
TEST(GumbelNoise, NeverDecreasesAndAgreesWithTheLibrary) {
  float previous = -std::numeric_limits<float>::infinity();
  for (std::int32_t i = 0; i < 1 << 24; ++i) {
    const float uniform = static_cast<float>(i) * 0x1p-24f;
    const float noise = gumbel_noise(uniform);
    ASSERT_GE(noise, previous) << i;
    if (i % 997 == 0) {
      const double u = (i + 0.5) / (1 << 24);
      ASSERT_NEAR(noise, -std::log(-std::log(u)), 1e-6) << i;
    }
    previous = noise;
  }
  EXPECT_TRUE(std::isfinite(gumbel_noise(0.0f)));
  EXPECT_TRUE(std::isfinite(previous));
}

}  // namespace
}  // namespace lockstep::kernels

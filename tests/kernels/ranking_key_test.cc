#include "kernels/ranking_key.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

namespace lockstep::kernels {
namespace {

TEST(RankingKey, OrdersByLogitThenById) {
  const float infinity = std::numeric_limits<float>::infinity();
  const std::vector<float> descending = {infinity, 3e38f, 7.5f,   7.25f, 1.0f,   1e-45f,   0.0f,
                                         -1e-45f,  -1.0f, -7.25f, -7.5f, -3e38f, -infinity};
  for (std::size_t i = 0; i < descending.size(); ++i) {
    EXPECT_LT(ranking_key(descending[i], 5), ranking_key(descending[i], 6));
    if (i == 0) continue;
    EXPECT_LT(ranking_key(descending[i - 1], 2'000'000), ranking_key(descending[i], 0)) << i;
  }
  EXPECT_EQ(ranking_key(-0.0f, 9), ranking_key(0.0f, 9));
}

TEST(RankingKey, HoldsTheLogitAndTheToken) {
  for (const float logit : {3.5f, 0.0f, -1e-45f, -2e20f}) {
    EXPECT_EQ(logit_of(ranking_key(logit, 77)), logit);
    EXPECT_EQ(token_of(ranking_key(logit, 77)), 77);
  }
}

}  // namespace
}  // namespace lockstep::kernels

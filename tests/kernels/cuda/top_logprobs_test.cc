#include "kernels/cuda/top_logprobs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "tests/kernels/cuda/random_values.h"
#include "tests/kernels/cuda/test_gpu.h"

namespace lockstep::kernels::cuda {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct TopLogprobs {
  std::vector<ScoredToken> chosen, likeliest;
  std::vector<ScoredToken> top;  // [rows, best]
};

TopLogprobs run(const std::vector<float>& logits, const std::vector<std::int32_t>& chosen,
                std::int32_t best) {
  TestGpu memory;
  const std::size_t rows = chosen.size();
  const std::int64_t vocabulary = std::ssize(logits) / std::ssize(chosen);
  const auto slices = static_cast<std::size_t>(logprob_slices(static_cast<int>(vocabulary)));
  const auto count = static_cast<std::size_t>(best);
  // The chosen tokens are those of every second row of a step, from the last one on.
  std::vector<ScoredToken> sampled(2 * rows);
  std::vector<std::int32_t> sampled_row;
  for (std::size_t row = 0; row < rows; ++row) {
    sampled_row.push_back(static_cast<std::int32_t>(2 * (rows - row) - 1));
    sampled[static_cast<std::size_t>(sampled_row.back())].token_id = chosen[row];
  }
  const TopLogprobsArgs args{.logits = memory.constant(logits, "logits"),
                             .logits_stride = vocabulary,
                             .sampled = memory.constant(sampled, "sampled"),
                             .sampled_row = memory.constant(sampled_row, "sampled_row"),
                             .sums = memory.blank<std::uint64_t>(rows * slices, "sums"),
                             .candidates = memory.blank<ScoredToken>(
                                 rows * slices * std::max<std::size_t>(count, 1), "candidates"),
                             .out = memory.blank<ScoredToken>(rows * (2 + count), "out"),
                             .rows = static_cast<std::int32_t>(rows),
                             .vocabulary = static_cast<std::int32_t>(vocabulary),
                             .best = best};
  memory.gpu().run(args);
  TopLogprobs got;
  const auto out = memory.values(args.out);
  for (std::size_t row = 0; row < rows; ++row) {
    const auto* own = out.data() + row * (2 + count);
    EXPECT_EQ(own[0].token_id, chosen[row]);
    got.chosen.push_back(own[0]);
    got.likeliest.push_back(own[1]);
    got.top.insert(got.top.end(), own + 2, own + 2 + count);
  }
  return got;
}

// log(sum(e^logit)) by the library.
double log_sum(const std::vector<float>& logits) {
  const double largest = *std::max_element(logits.begin(), logits.end());
  double sum = 0;
  for (const float logit : logits) sum += std::exp(logit - largest);
  return largest + std::log(sum);
}

class CudaTopLogprobs : public OnTestGpu {};

TEST_F(CudaTopLogprobs, AreThoseOfASortedRow) {
  for (const std::size_t vocabulary : {1u, 100u, 4096u, 9001u}) {
    auto logits = random_floats(2 * vocabulary, 1, 4.0f);
    for (float& logit : logits) logit = std::round(logit * 64) / 64;  // with equals
    const auto last = static_cast<std::int32_t>(vocabulary) - 1;
    const auto got = run(logits, {0, last}, 5);
    for (std::size_t row = 0; row < 2; ++row) {
      const auto own = part(logits, row * vocabulary, vocabulary);
      std::vector<std::int32_t> order(vocabulary);
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(), [&](std::int32_t a, std::int32_t b) {
        return own[std::size_t(a)] > own[std::size_t(b)];
      });
      const double total = log_sum(own);
      EXPECT_EQ(got.likeliest[row].token_id, order[0]);
      EXPECT_EQ(got.likeliest[row].score, own[std::size_t(order[0])]);
      for (std::size_t rank = 0; rank < 5; ++rank) {
        const ScoredToken token = got.top[5 * row + rank];
        if (rank >= vocabulary) {
          EXPECT_EQ(token.token_id, -1);
          continue;
        }
        EXPECT_EQ(token.token_id, order[rank]) << "rank " << rank << " of " << vocabulary;
        EXPECT_NEAR(token.score, own[std::size_t(order[rank])] - total, 1e-6);
      }
      EXPECT_NEAR(got.chosen[row].score, own[row == 0 ? 0 : vocabulary - 1] - total, 2e-6);
    }
  }
}

TEST_F(CudaTopLogprobs, ImpossibleTokensHaveNone) {
  std::vector<float> logits(5000, -kInfinity);  // the whole first slice
  logits[4500] = 1.0f;
  logits[4501] = 2.0f;
  logits[4502] = std::nanf("");
  const auto got = run(logits, {4502}, 3);
  EXPECT_EQ(got.chosen[0].score, -kInfinity);
  EXPECT_EQ(got.top[0].token_id, 4501);
  EXPECT_NEAR(got.top[0].score, -std::log1p(std::exp(-1.0)), 1e-6);
  EXPECT_EQ(got.top[1].token_id, 4500);
  EXPECT_EQ(got.top[2].token_id, -1);
}

TEST_F(CudaTopLogprobs, ACountOfZeroGivesTheChosenTokensAlone) {
  const auto logits = random_floats(300, 1);
  const auto got = run(logits, {17}, 0);
  EXPECT_NEAR(got.chosen[0].score, logits[17] - log_sum(logits), 1e-6);
  EXPECT_TRUE(got.top.empty());
}

// So that whoever reads the results can tell that they are no numbers.
TEST_F(CudaTopLogprobs, TellOfRowsWithoutANumberAtTheTop) {
  std::vector<float> logits = random_floats(600, 1);
  std::fill(logits.begin(), logits.begin() + 300, -kInfinity);
  logits[400] = kInfinity;
  const auto got = run(logits, {-1, 5}, 1);
  EXPECT_EQ(got.likeliest[0].token_id, -1);
  EXPECT_EQ(got.top[0].token_id, -1);
  EXPECT_EQ(got.likeliest[1].token_id, 100);
  EXPECT_EQ(got.likeliest[1].score, kInfinity);
}

}  // namespace
}  // namespace lockstep::kernels::cuda

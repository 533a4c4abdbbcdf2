// Attention by FA3 on a Hopper GPU against the own kernel, and against itself in other company.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/fa3_attention.h"
#include "tests/kernels/cuda/random_values.h"
#include "tests/kernels/cuda/row_places.h"
#include "tests/kernels/cuda/test_gpu.h"

namespace lockstep::kernels::cuda {
namespace {

using Bf16s = std::vector<std::uint16_t>;

constexpr std::int32_t kHeads = 2, kGroup = 4, kBlockSize = 16;
constexpr std::int32_t kQueries = kHeads * kGroup;
constexpr std::int32_t kSequences = 3, kPositions = 1000;
constexpr std::int32_t kStride = (kPositions + kBlockSize - 1) / kBlockSize;
constexpr std::size_t kRowSize = kQueries * kFa3HeadDim;

// Three sequences of 1,000 positions in scattered blocks.
class Fa3OnDevice : public OnTestGpu {
 protected:
  void SetUp() override {
    OnTestGpu::SetUp();
    if (IsSkipped()) return;
    gpu_ = std::make_unique<TestGpu>();
    if (!gpu_->gpu().has_fa3()) GTEST_SKIP() << "FA3 needs a Hopper GPU and a build for sm_90a";
    std::vector<std::int32_t> table(kSequences * kStride);
    std::iota(table.begin(), table.end(), 0);
    std::shuffle(table.begin(), table.end(), std::mt19937(9));
    blocks_ = gpu_->constant(table, "block tables");
    const std::size_t size = table.size() * kHeads * kBlockSize * kFa3HeadDim;
    values_ = random_floats(size, 2);
    keys_ = gpu_->variable(to_bf16(random_floats(size, 1)), "keys");
  }

  PagedCache cache(bool magnitudes) {
    auto values = values_;
    if (magnitudes) {
      for (float& value : values) value = std::fabs(value);
    }
    return {.keys = keys_,
            .values = gpu_->variable(to_bf16(values), "values"),
            .format = CacheFormat::bf16,
            .heads = kHeads,
            .block_size = kBlockSize,
            .head_dim = kFa3HeadDim};
  }
  // A row's query: the same wherever the row stands.
  const std::uint16_t* queries(const std::vector<RowPlace>& places) {
    Bf16s all;
    for (const RowPlace place : places) {
      const auto seed = static_cast<unsigned>(place.sequence * 10000 + place.position);
      const Bf16s query = to_bf16(random_floats(kRowSize, seed, 4.0f));
      all.insert(all.end(), query.begin(), query.end());
    }
    return gpu_->constant(all, "q");
  }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(kFa3HeadDim)); }

  Bf16s by_own_kernel(const std::vector<RowPlace>& places, bool magnitudes = false) {
    const auto runs = head_runs(std::vector<std::int32_t>{0, kGroup, 2 * kGroup});
    auto* out = gpu_->blank<std::uint16_t>(places.size() * kRowSize, "out");
    gpu_->gpu().run(AttentionArgs{.q = queries(places),
                                  .cache = cache(magnitudes),
                                  .tables = {blocks_, kStride},
                                  .places = gpu_->constant(places, "places"),
                                  .runs = gpu_->constant(runs, "runs"),
                                  .out = out,
                                  .parts = nullptr,
                                  .rows = static_cast<std::int32_t>(places.size()),
                                  .query_heads = kQueries,
                                  .num_runs = static_cast<std::int32_t>(runs.size()),
                                  .chunks = 0,
                                  .scale = scale()});
    return gpu_->values(out);
  }
  Bf16s attended(const std::vector<RowPlace>& places, bool apart = false) {
    const Fa3Layout layout(count_fa3_tiles(places, apart));
    std::vector<std::byte> plan(static_cast<std::size_t>(layout.bytes));
    plan_fa3(places, apart, kBlockSize, kStride, kSequences, layout, plan);
    auto* out = gpu_->blank<std::uint16_t>(places.size() * kRowSize, "out");
    gpu_->gpu().run(Fa3Args{.q = queries(places),
                            .cache = cache(false),
                            .blocks = blocks_,
                            .plan = gpu_->constant(plan, "plan"),
                            .out = out,
                            .rows = static_cast<std::int32_t>(places.size()),
                            .query_heads = kQueries,
                            .scale = scale()},
                    layout);
    return gpu_->values(out);
  }

 private:
  std::unique_ptr<TestGpu> gpu_;
  const std::int32_t* blocks_ = nullptr;
  std::uint16_t* keys_ = nullptr;
  std::vector<float> values_;
};

// FA3 rounds the weights of a softmax to bf16, the own kernel does not (flashinfer_test.cc).
TEST_F(Fa3OnDevice, IsNearTheOwnKernel) {
  std::vector<RowPlace> places = {{0, 0}, {2, kPositions - 1}, {0, 95}, {0, 96}, {1, 63}};
  for (const RowPlace place : rows_of(1, 500, 200)) places.push_back(place);
  for (const RowPlace place : rows_of(2, 0, 70)) places.push_back(place);
  const Bf16s out = attended(places);
  const Bf16s expected = by_own_kernel(places), magnitudes = by_own_kernel(places, true);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const float number = bf16_to_float(expected[i]);
    ASSERT_NEAR(bf16_to_float(out[i]), number,
                (std::fabs(number) + 1.1f * bf16_to_float(magnitudes[i])) * 0x1p-8f + 1e-5f)
        << "row " << i / kRowSize << ", number " << i % kRowSize;
  }
}

// A row at a time is what decoding does. Tiles of 43 rows end at other keys than whole ones.
TEST_F(Fa3OnDevice, GivesTheSameBitsHoweverAPromptIsCut) {
  const auto prompt = rows_of(1, 60, 300);
  const Bf16s whole = attended(prompt);
  EXPECT_EQ(attended(prompt, true), whole);
  for (const std::int32_t piece : {43, 97, 128}) {
    Bf16s pieces;
    for (std::int32_t row = 0; row < 300; row += piece) {
      const Bf16s out = attended(rows_of(1, 60 + row, std::min(piece, 300 - row)));
      pieces.insert(pieces.end(), out.begin(), out.end());
    }
    ASSERT_EQ(pieces, whole) << "pieces of " << piece;
  }
}

TEST_F(Fa3OnDevice, GivesARowTheSameBitsInAnyCompany) {
  const RowPlace row{0, 577};
  const Bf16s alone = attended({row});
  for (const std::int32_t others : {1, 5, 64}) {
    const auto places = in_company(row, others, kPositions);
    EXPECT_EQ(part(attended(places), static_cast<std::size_t>(others) * kRowSize, kRowSize), alone);
  }
}

}  // namespace
}  // namespace lockstep::kernels::cuda

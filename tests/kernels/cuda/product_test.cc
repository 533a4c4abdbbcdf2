#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "tests/kernels/cuda/product_runner.h"

namespace lockstep::kernels::cuda {
namespace {

struct Shape {
  std::int32_t m, n, k;
};

class CudaProduct : public OnTestGpu, public testing::WithParamInterface<TileFormat> {};

void expect_product(const RandomWeights& weights, const std::vector<std::uint16_t>& x, Shape shape,
                    const std::vector<float>& out) {
  for (std::int32_t row = 0; row < shape.m; ++row) {
    for (std::int32_t n = 0; n < shape.n; ++n) {
      double expected = 0, magnitude = 0;
      for (std::int32_t k = 0; k < shape.k; ++k) {
        const double term =
            weights.value(n, k) * bf16_to_float(x[static_cast<std::size_t>(row * shape.k + k)]);
        expected += term;
        magnitude += std::fabs(term);
      }
      ASSERT_NEAR(out[static_cast<std::size_t>(row * shape.n + n)], expected,
                  magnitude * product_error() + 1e-7)
          << "row " << row << ", n " << n << " of k " << shape.k;
    }
  }
}

TEST_P(CudaProduct, EqualsTheDoublePrecisionProduct) {
  for (const Shape shape : {Shape{1, 1, 32},
                            {1, 37, 576},
                            {3, 16, 288},
                            {16, 50, 64},
                            {17, 33, 96},
                            {40, 9, 32},
                            {70, 8, 32},
                            {130, 70, 96}}) {
    const RandomWeights weights(GetParam(), shape.n, shape.k);
    const auto x = to_bf16(random_floats(static_cast<std::size_t>(shape.m * shape.k), 5));
    expect_product(weights, x, shape,
                   multiplied(weights.packed(0, shape.k), x, shape.m, 0, whole_sum(shape.k)));
  }
}

TEST_P(CudaProduct, GivesARowTheSameBitsInAnyBatch) {
  const std::int32_t n = 20, k = 352;
  const auto weights = RandomWeights(GetParam(), n, k).packed(0, k);
  for (const std::int32_t m : {16, 35, 70}) {
    const auto x = to_bf16(random_floats(static_cast<std::size_t>(m * k), 5));
    const auto all = multiplied(weights, x, m, 0, whole_sum(k));
    for (std::int32_t row = 0; row < m; row += m == 16 ? 1 : m / 2) {
      const auto alone =
          multiplied(weights, part(x, static_cast<std::size_t>(row * k), k), 1, 0, whole_sum(k));
      EXPECT_EQ(bits(alone), bits(part(all, static_cast<std::size_t>(row * n), n))) << row;
    }
  }
}

// Of x in the largest blocks of warpgroups: where groups have scales of their own, there are two
// sums of each.
std::int32_t most_wide_rows(TileFormat format) {
  return format == TileFormat::int8_group || format == TileFormat::e4m3_block ||
                 format == TileFormat::int4_group
             ? 64
             : 128;
}

// Lanes of 20, 11, 2, 9, 1 and 24 groups in two segments, ((a + b) + (c + d)) and (e + f): sums
// wait two deep.
const LaneProgram kTwoSegments{{{20, 0}, {11, 1}, {2, 0}, {9, 2}, {1, 0}, {24, 1}}, 2};

TEST_P(CudaProduct, GivesTheSameBitsHoweverTheWorkIsCut) {
  const std::int32_t m = 37, n = 70, k = 67 * 32;
  const auto weights = RandomWeights(GetParam(), n, k).packed(0, k);
  auto x = to_bf16(random_floats(m * k, 5));
  std::fill_n(x.begin() + 3 * k, k, 0);        // products of either zero
  std::fill_n(x.begin() + 30 * k, k, 0x8000);  // -0
  const ProductShape first = FewRows{16, 1};
  const auto expected = bits(multiplied(weights, x, m, 0, kTwoSegments, &first));
  for (const ProductShape shape :
       {ProductShape{FewRows{7, 3}}, ProductShape{FewRows{9, 2}}, ProductShape{ManyRows{1, 1, 1}},
        ProductShape{ManyRows{1, 2, 3}}, ProductShape{ManyRows{2, 1, 8}},
        ProductShape{ManyRows{4, 2, 2}}, ProductShape{WideRows{64, 1, 2}},
        ProductShape{WideRows{64, 2, 3}}}) {
    // Only a Hopper GPU has them; the test below says where it is skipped for that.
    if (std::holds_alternative<WideRows>(shape) && !TestGpu().gpu().has_warpgroups()) continue;
    EXPECT_EQ(bits(multiplied(weights, x, m, 0, kTwoSegments, &shape)), expected);
  }
}

// A product that SwiGLU follows, gate's and up's rows by turns, and what it makes of the sums
// apart. They end in the middle of a block's rows and columns.
struct Activated {
  static constexpr std::int32_t kM = 70, kN = 80, kK = 11 * 32;

  explicit Activated(TileFormat format)
      : weights(RandomWeights(format, kN, kK).packed(0, kK)),
        x(to_bf16(random_floats(kM * kK, 5))) {
    const std::vector<float> sums = multiplied(weights, x, kM, 0, whole_sum(kK));
    std::vector<float> gate, up;
    for (std::size_t i = 0; i < sums.size(); ++i) {
      (i % kN / kTurn % 2 == 0 ? gate : up).push_back(sums[i]);
    }
    TestGpu memory;
    const SwigluArgs apart{.gate = memory.constant(gate, "gate"),
                           .up = memory.constant(up, "up"),
                           .stride = kN / 2,
                           .out = memory.blank<std::uint16_t>(gate.size(), "out"),
                           .rows = kM,
                           .columns = kN / 2};
    memory.gpu().run(apart);
    expected = memory.values(apart.out);
  }

  HostWeightTiles weights;
  std::vector<std::uint16_t> x, expected;
};

TEST_P(CudaProduct, ActivatesAsSwigluDoesHoweverTheWorkIsCut) {
  const Activated all(GetParam());
  EXPECT_EQ(activated_product(all.weights, all.x, all.kM), all.expected);
  EXPECT_EQ(activated_product(all.weights, part(all.x, 0, 3 * all.kK), 3),
            part(all.expected, 0, 3 * all.kN / 2));
  for (const ProductShape shape :
       {ProductShape{FewRows{7, 2}}, ProductShape{FewRows{16, 4}}, ProductShape{FewRows{16, 10}},
        ProductShape{ManyRows{1, 1, 1}}, ProductShape{ManyRows{2, 2, 4}}}) {
    EXPECT_EQ(activated_product(all.weights, all.x, all.kM, &shape), all.expected);
  }
}

TEST_P(CudaProduct, ActivatesByWarpgroupsWithTheSameBits) {
  if (!TestGpu().gpu().has_warpgroups()) GTEST_SKIP() << "no warpgroups that multiply together";
  const Activated all(GetParam());
  for (const ProductShape shape :
       {ProductShape{WideRows{64, 1, 2}}, ProductShape{WideRows{64, 2, 3}},
        ProductShape{WideRows{most_wide_rows(GetParam()), 2, 2}}}) {
    EXPECT_EQ(activated_product(all.weights, all.x, all.kM, &shape), all.expected);
  }
}

// Of sums that wait for nothing.
TEST_P(CudaProduct, GivesTheSameBitsInTheLargestBlocks) {
  const std::int32_t m = 150, n = 130, k = 21 * 32;
  const auto weights = RandomWeights(GetParam(), n, k).packed(0, k);
  const auto x = to_bf16(random_floats(m * k, 5));
  if (!TestGpu().gpu().has_warpgroups()) GTEST_SKIP() << "no warpgroups that multiply together";
  const ProductShape few = FewRows{16, 1}, wide = WideRows{most_wide_rows(GetParam()), 2, 4};
  EXPECT_EQ(bits(multiplied(weights, x, m, 0, whole_sum(k), &wide)),
            bits(multiplied(weights, x, m, 0, whole_sum(k), &few)));
}

// Lanes of 1, 2, 11 and 3 groups, added as (a + b) + (c + d).
TEST_P(CudaProduct, RanksLeaveTheSameBitsInTheSameTree) {
  const std::int32_t m = 3, n = 19;
  const std::vector<std::int32_t> groups = {1, 2, 11, 3};
  const std::int32_t k = 17 * 32;
  const RandomWeights weights(GetParam(), n, k);
  const auto x = to_bf16(random_floats(m * k, 5));
  const std::size_t size = m * n;
  // The rank with lanes [begin, end) and its program.
  const auto rank = [&](std::size_t begin, std::size_t end, std::vector<std::int32_t> merges) {
    std::int32_t first = 0, columns = 0;
    LaneProgram program{{}, 0};
    for (std::size_t lane = 0; lane < end; ++lane) {
      if (lane < begin) {
        first += 32 * groups[lane];
      } else {
        columns += 32 * groups[lane];
        program.steps.push_back({groups[lane], merges[lane - begin]});
      }
    }
    return multiplied(weights.packed(first, first + columns), x, m, first, program);
  };
  const auto sum = [&](const std::vector<float>& a, const std::vector<float>& b) {
    std::vector<float> sums(size);
    for (std::size_t i = 0; i < size; ++i) sums[i] = a[i] + b[i];
    return sums;
  };
  const auto segment = [&](const std::vector<float>& out, std::size_t i) {
    return part(out, i * size, size);
  };
  const auto one = rank(0, 4, {0, 1, 0, 2});
  const auto two = sum(rank(0, 2, {0, 1}), rank(2, 4, {0, 1}));
  EXPECT_EQ(bits(two), bits(one));
  // Three ranks: lane 0, lanes 1 and 2 (a segment each), lane 3.
  const auto middle = rank(1, 3, {0, 0});
  EXPECT_EQ(
      bits(sum(sum(rank(0, 1, {0}), segment(middle, 0)), sum(segment(middle, 1), rank(3, 4, {0})))),
      bits(one));
}

std::string name_of(TileFormat format) {
  switch (format) {
    case TileFormat::bf16: return "bf16";
    case TileFormat::int8_channel: return "int8_channel";
    case TileFormat::int8_group: return "int8_group";
    case TileFormat::e4m3_channel: return "e4m3_channel";
    case TileFormat::e4m3_block: return "e4m3_block";
    case TileFormat::int4_group: return "int4_group";
  }
  return "unknown";
}

INSTANTIATE_TEST_SUITE_P(Formats, CudaProduct,
                         testing::Values(TileFormat::bf16, TileFormat::int8_channel,
                                         TileFormat::int8_group, TileFormat::e4m3_channel,
                                         TileFormat::e4m3_block, TileFormat::int4_group),
                         [](const auto& info) { return name_of(info.param); });

}  // namespace
}  // namespace lockstep::kernels::cuda

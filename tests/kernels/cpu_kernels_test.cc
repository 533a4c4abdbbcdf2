// Every CPU family against plain double-precision formulas, and against each other bit for bit.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <random>

#include "kernels/cpu_family.h"
#include "kernels/flush_denormals.h"
#include "kernels/fp8.h"
#include "kernels/half.h"
#include "tests/kernels/activations.h"
#include "tests/kernels/families.h"

namespace lockstep::kernels {
namespace {

using testing::ElementsAreArray;

class Family : public FamilyTest {};

TEST_P(Family, RmsNormFollowsItsFormula) {
  for (const std::int64_t n : {16, 576, 4096}) {
    const auto x = random_floats(n, 1, 3.0f);
    const auto weight = random_floats(n, 2);
    std::vector<float> out(n), reference(n);
    table_.rms_norm(x.data(), weight.data(), 1e-5f, n, out.data());
    scalar_.rms_norm(x.data(), weight.data(), 1e-5f, n, reference.data());
    EXPECT_EQ(bits(out), bits(reference));
    double squares = 0;
    for (const float value : x) squares += double{value} * value;
    for (std::int64_t i = 0; i < n; ++i) {
      EXPECT_NEAR(out[i], x[i] / std::sqrt(squares / n + 1e-5) * weight[i], 1e-5);
    }
  }
}

// silu(x) * x of every element, by products with the identity.
std::vector<float> swiglu_of_identity(const cpu::KernelTable& table, const std::vector<float>& x) {
  const auto n = static_cast<std::int64_t>(x.size());
  Arena arena;
  PackedMatrix identity(PackedFormat::f32, n, n, arena);
  std::vector<float> unit(x.size() * x.size());
  for (std::size_t row = 0; row < x.size(); ++row) unit[row * x.size() + row] = 1.0f;
  const StoredMatrix stored{DType::f32, n, n, reinterpret_cast<const std::byte*>(unit.data()), {}};
  for (std::int64_t row = 0; row < n; ++row) identity.set_row(row, stored, row, 0);
  Activations in(table, x, 1, n), out(table, std::vector<float>(x.size()), 1, n);
  const auto lanes = whole_sum(n);
  table.swiglu({.gate = {.weights = &identity,
                         .activations = ActivationFormat::f32,
                         .x = in.view(),
                         .m = 1,
                         .steps = lanes.steps.data(),
                         .num_steps = 1},
                .up = &identity,
                .interleaved = false,
                .up_activations = ActivationFormat::f32,
                .out = out.view(),
                .out_f32 = true,
                .out_bf16 = false,
                .out_int8 = false,
                .out_tiles = false,
                .group_begin = 0,
                .group_end = n / 32});
  return out.values;
}

TEST_P(Family, SwigluFollowsItsFormula) {
  auto x = random_floats(64, 3, 10.0f);
  x[0] = 0.0f, x[1] = -100.0f, x[2] = 100.0f, x[3] = -87.5f, x[4] = 1e15f;
  const auto out = swiglu_of_identity(table_, x);
  EXPECT_EQ(bits(out), bits(swiglu_of_identity(scalar_, x)));
  for (int i = 0; i < 64; ++i) {
    const double expected = x[i] / (1.0 + std::exp(-double{x[i]})) * x[i];
    EXPECT_NEAR(out[i], expected, std::fabs(expected) * 1e-6 + 1e-30) << x[i];
  }
}

TEST_P(Family, SwigluKeepsANan) {
  std::vector<float> x(32, 1.0f);
  x[5] = std::nanf("");
  EXPECT_TRUE(std::isnan(swiglu_of_identity(table_, x)[5]));
}

// Products with rows of the identity, in threads that take subnormal numbers for zero.
TEST_P(Family, ReadsEveryNumberOfE4m3) {
  const FlushDenormals flush_denormals;
  std::vector<std::byte> bytes;
  for (int i = 0; i < 512; ++i) bytes.push_back(std::byte((i & 0x7f) == 0x7f ? 0 : i & 0xff));
  const float scale = 0x1p-30f;
  Arena arena;
  PackedMatrix weights(PackedFormat::f8, 16, 32, arena);
  for (std::int64_t row = 0; row < 16; ++row) {
    weights.set_row(row,
                    {.type = DType::e4m3,
                     .rows = 16,
                     .columns = 32,
                     .values = bytes.data(),
                     .blocks = {reinterpret_cast<const std::byte*>(&scale), DType::f32, 16, 32}},
                    row, 0);
  }
  std::vector<float> identity(32 * 32);
  for (std::size_t i = 0; i < 32; ++i) identity[i * 32 + i] = 1.0f;
  Activations x(table_, identity, 32, 32);
  const auto lanes = whole_sum(32);
  for (const auto activations : {ActivationFormat::bf16, ActivationFormat::f32}) {
    std::vector<float> out(32 * 16);
    table_.linear(
        {&weights, activations, x.view(), 32, lanes.steps.data(), 1, 0, 1, out.data(), 16, 512});
    for (std::size_t row = 0; row < 16; ++row) {
      for (std::size_t column = 0; column < 32; ++column) {
        const auto byte = std::to_integer<std::uint8_t>(bytes[row * 32 + column]);
        EXPECT_EQ(out[column * 16 + row], scale * bf16_to_float(e4m3_to_bf16(byte))) << int{byte};
      }
    }
  }
}

TEST_P(Family, RopeRotatesPairsHalfAHeadApart) {
  const auto head = random_floats(64, 5);
  std::vector<float> cos(32), sin(32);
  for (int i = 0; i < 32; ++i) cos[i] = std::cos(0.1f * i), sin[i] = std::sin(0.1f * i);
  auto out = head, reference = head;
  table_.rope(out.data(), cos.data(), sin.data(), 64);
  scalar_.rope(reference.data(), cos.data(), sin.data(), 64);
  EXPECT_EQ(bits(out), bits(reference));
  for (int i = 0; i < 32; ++i) {
    EXPECT_NEAR(out[i], head[i] * cos[i] - head[i + 32] * sin[i], 1e-6);
    EXPECT_NEAR(out[i + 32], head[i + 32] * cos[i] + head[i] * sin[i], 1e-6);
  }
}

TEST_P(Family, TilesOfActivationsAreTheirRoundedValuesByPairs) {
  if (table_.tile_rows == nullptr) GTEST_SKIP() << "this family takes no tiles";
  constexpr std::int64_t kRows = 21, kColumns = 96;
  const Activations x(table_, random_floats(kRows * kColumns, 6), kRows, kColumns);
  for (std::int64_t row = 0; row < 32; ++row) {
    for (std::int64_t column = 0; column < kColumns; ++column) {
      const std::int64_t at = row / 16 * 16 * kColumns + column / 32 * 512 + column % 32 / 2 * 32 +
                              row % 16 * 2 + column % 2;
      const int expected = row < kRows ? x.halves[row * kColumns + column] : 0;
      EXPECT_EQ(x.tiles[at], expected) << row << "," << column;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Cpu, Family, testing::ValuesIn(kAllFamilies), family_name);

}  // namespace
}  // namespace lockstep::kernels

#include "kernels/cuda/rms_norm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "kernels/cuda/peer_norm.h"
#include "tests/kernels/cuda/random_values.h"
#include "tests/kernels/cuda/test_gpu.h"

namespace lockstep::kernels::cuda {
namespace {

struct Segments {
  std::vector<float> values;  // [count, any shape]
  std::vector<std::int32_t> merges;
};

struct Normed {
  std::vector<float> hidden;
  std::vector<std::uint16_t> out;
};

constexpr float kEps = 1e-5f;

Normed norm(const std::vector<float>& hidden, const std::vector<float>& weight,
            const Segments& update = {}, const std::vector<std::int32_t>& row_indices = {}) {
  TestGpu memory;
  const auto rows = row_indices.empty() ? hidden.size() / weight.size() : row_indices.size();
  const RmsNormArgs args{
      .hidden = memory.variable(hidden, "hidden"),
      .update = {.segments = memory.variable(update.values, "segments"),
                 .stride = static_cast<std::int64_t>(hidden.size()),
                 .count = static_cast<std::int32_t>(update.merges.size()),
                 .merges = memory.constant(update.merges, "merges")},
      .weight = memory.constant(weight, "weight"),
      .out = memory.blank<std::uint16_t>(rows * weight.size(), "out"),
      .row_indices = row_indices.empty() ? nullptr : memory.constant(row_indices, "row_indices"),
      .rows = static_cast<std::int32_t>(rows),
      .columns = static_cast<std::int32_t>(weight.size()),
      .eps = kEps};
  memory.require_waiting();
  memory.gpu().run(args);
  return {memory.values(args.hidden), memory.values(args.out)};
}

// The formula, for one row.
void expect_normed(const std::vector<double>& row, const std::vector<float>& weight,
                   const std::vector<std::uint16_t>& out, std::size_t first) {
  double squares = 0;
  for (const double value : row) squares += value * value;
  const double inverse = 1.0 / std::sqrt(squares / static_cast<double>(row.size()) + kEps);
  for (std::size_t i = 0; i < row.size(); ++i) {
    const double expected = row[i] * inverse * weight[i];
    EXPECT_NEAR(bf16_to_float(out[first + i]), expected, std::fabs(expected) * 0x1.02p-8 + 1e-30)
        << i;
  }
}

class CudaRmsNorm : public OnTestGpu,
                    public testing::WithParamInterface<std::pair<std::size_t, std::size_t>> {};

TEST_P(CudaRmsNorm, EqualsTheFormula) {
  const auto [rows, columns] = GetParam();
  const auto hidden = random_floats(rows * columns, 1, 3e-3f);
  const auto weight = random_floats(columns, 2);
  const Normed normed = norm(hidden, weight);
  EXPECT_EQ(bits(normed.hidden), bits(hidden));
  for (std::size_t row = 0; row < rows; ++row) {
    const auto values = part(hidden, row * columns, columns);
    expect_normed({values.begin(), values.end()}, weight, normed.out, row * columns);
  }
}

TEST_P(CudaRmsNorm, AddsTheSegmentsInTheOrderOfTheirTreeFirst) {
  const auto [rows, columns] = GetParam();
  const auto hidden = random_floats(rows * columns, 1, 3.0f);
  const auto weight = random_floats(columns, 2);
  // (a + (b + c)) + d
  const Segments update{random_floats(4 * rows * columns, 3), {0, 0, 2, 1}};
  const Normed normed = norm(hidden, weight, update);
  for (std::size_t row = 0; row < rows; ++row) {
    std::vector<double> sums;
    for (std::size_t i = row * columns; i < (row + 1) * columns; ++i) {
      const auto segment = [&](std::size_t s) { return update.values[s * rows * columns + i]; };
      const float sum = hidden[i] + ((segment(0) + (segment(1) + segment(2))) + segment(3));
      EXPECT_EQ(normed.hidden[i], sum);
      sums.push_back(sum);
    }
    expect_normed(sums, weight, normed.out, row * columns);
  }
}

TEST_P(CudaRmsNorm, GivesARowTheSameBitsInAnyBatch) {
  const auto [rows, columns] = GetParam();
  const auto hidden = random_floats(rows * columns, 1, 3.0f);
  const auto weight = random_floats(columns, 2);
  const auto all = norm(hidden, weight).out;
  for (std::size_t row = 0; row < rows; ++row) {
    const auto alone = norm(part(hidden, row * columns, columns), weight).out;
    EXPECT_EQ(alone, part(all, row * columns, columns));
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, CudaRmsNorm,
                         testing::Values(std::pair(1, 4), std::pair(1, 2048), std::pair(2, 36),
                                         std::pair(7, 576), std::pair(3, 2060), std::pair(16, 96),
                                         std::pair(2, 4096), std::pair(1, 8192), std::pair(2, 9000),
                                         std::pair(1, 20000)),
                         [](const auto& info) {
                           return "m" + std::to_string(info.param.first) + "_k" +
                                  std::to_string(info.param.second);
                         });

class CudaRmsNormRows : public OnTestGpu {};

TEST_F(CudaRmsNormRows, TakesTheRowsThatAreAskedFor) {
  const std::size_t columns = 64;
  const auto hidden = random_floats(5 * columns, 1);
  const auto weight = random_floats(columns, 2);
  const Segments update{random_floats(5 * columns, 3), {0}};
  const Normed all = norm(hidden, weight, update);
  const Normed some = norm(hidden, weight, update, {4, 1});
  EXPECT_EQ(part(some.out, 0, columns), part(all.out, 4 * columns, columns));
  EXPECT_EQ(part(some.out, columns, columns), part(all.out, columns, columns));
  EXPECT_EQ(part(some.hidden, columns, columns), part(all.hidden, columns, columns));
  EXPECT_EQ(part(some.hidden, 0, columns), part(hidden, 0, columns));  // not asked for
}

TEST_F(CudaRmsNormRows, OnlyAddsWhereNoNormIsWanted) {
  const std::size_t columns = 2060;
  const auto hidden = random_floats(3 * columns, 1);
  const auto segments = random_floats(2 * 3 * columns, 3);
  const auto weight = random_floats(columns, 2);
  TestGpu memory;
  const RmsNormArgs args{
      .hidden = memory.variable(hidden, "hidden"),
      .update = {.segments = memory.constant(segments, "segments"),
                 .stride = static_cast<std::int64_t>(hidden.size()),
                 .count = 2,
                 .merges = memory.constant(std::vector<std::int32_t>{0, 1}, "merges")},
      .weight = nullptr,
      .out = nullptr,
      .row_indices = nullptr,
      .rows = 3,
      .columns = static_cast<std::int32_t>(columns),
      .eps = kEps};
  memory.gpu().run(args);
  EXPECT_EQ(bits(memory.values(args.hidden)),
            bits(norm(hidden, weight, {segments, {0, 1}}).hidden));
}

class CudaRmsNormOfPeers : public OnTestGpu {};

// The kernel that exchanges by itself, with nobody but itself: turn after turn the norm's bits.
TEST_F(CudaRmsNormOfPeers, OfOneRankIsTheNorm) {
  constexpr std::int32_t kRows = 3, kColumns = 2060, kSegments = 2;
  const auto weight = random_floats(kColumns, 2);
  const PeerLayout layout{.rows = 4, .row_floats = kSegments * kColumns};
  TestGpu memory;
  const auto failures =
      memory.gpu().mapped_memory().allocate("failures", 4 * sizeof(std::uint64_t));
  std::memset(failures.data(), 0, failures.size());
  auto* peer_memory =
      memory.variable(std::vector<std::byte>(static_cast<std::size_t>(layout.bytes())), "peers");
  float* hidden = memory.variable(random_floats(kRows * kColumns, 1), "hidden");
  auto expected = random_floats(kRows * kColumns, 1);
  for (unsigned turn = 0; turn < 3; ++turn) {
    const auto segments = random_floats(kSegments * kRows * kColumns, 10 + turn);
    const std::vector<std::int32_t> merges{0, 1};
    const Normed normed = norm(expected, weight, {segments, merges});
    expected = normed.hidden;
    PeerNormArgs args{.norm = {.hidden = hidden,
                               .update = {},
                               .weight = memory.constant(weight, "weight"),
                               .out = memory.blank<std::uint16_t>(kRows * kColumns, "out"),
                               .row_indices = nullptr,
                               .rows = kRows,
                               .columns = kColumns,
                               .eps = kEps},
                      .update = {.memory = {peer_memory},
                                 .layout = layout,
                                 .segments = memory.constant(segments, "segments"),
                                 .stride = kRows * kColumns,
                                 .first = 0,
                                 .own = kSegments,
                                 .all = kSegments,
                                 .merges = memory.constant(merges, "merges"),
                                 .rank = 0,
                                 .ranks = 1,
                                 .what = 0,
                                 .patience = 1'000'000'000,
                                 .failures = static_cast<std::uint64_t*>(failures.data())}};
    memory.gpu().run(args);
    EXPECT_EQ(memory.values(args.norm.out), normed.out) << turn;
    EXPECT_EQ(bits(memory.values(hidden)), bits(expected)) << turn;
  }
}

}  // namespace
}  // namespace lockstep::kernels::cuda

// Products of every CPU family against double precision, and against each other bit for bit.
#include <gtest/gtest.h>

#include <cmath>

#include "kernels/cpu_family.h"
#include "tests/kernels/activations.h"
#include "tests/kernels/random_matrix.h"

namespace lockstep::kernels {
namespace {

struct LinearCase {
  DType type;
  ActivationFormat activations;
  std::int64_t m, n, k;
  PackedLayout layout = PackedLayout::interleaved;
};

class Linear : public testing::TestWithParam<LinearCase> {
 protected:
  static constexpr std::int64_t kFirstColumn = 32;  // of the stored matrix

  void SetUp() override {
    const auto [type, activations, m, n, k, layout] = GetParam();
    tables_ = tables_for(layout);
    if (tables_.empty()) GTEST_SKIP() << "this machine has no matrix unit and cannot emulate one";
    std::mt19937 random(7);
    weights_ = PackedMatrix(packed_format(type), n, k, arena_, layout);
    const auto block = static_cast<std::int64_t>(block_values(type));
    const std::int64_t columns = (kFirstColumn + k + block - 1) / block * block;
    stored_ = MatrixWriter(random).matrix(type, (n + 7) / 8 * 8, columns);
    for (std::int64_t row = 0; row < n; ++row) {
      weights_.set_row(row, stored_.stored(), row, kFirstColumn);
    }
    x_ = random_floats(static_cast<std::size_t>(m * k), 11);
    for (std::int64_t i = 0; i < m; i += 3) x_[i * k + k / 64 * 32 + 7] = 60.0f;  // a wide group
  }

  double weight(std::int64_t row, std::int64_t column) const {
    return stored_.values[static_cast<std::size_t>(row * stored_.columns + kFirstColumn + column)];
  }

  // [segments, m, padded n]
  std::vector<float> product(const cpu::KernelTable& table, const LaneProgram& lanes) {
    const auto [type, activations, m, n, k, layout] = GetParam();
    Activations x(table, x_, m, k);
    const std::int64_t padded = weights_.row_blocks() * kRowBlock;
    std::vector<float> out(static_cast<std::size_t>(lanes.segments * m * padded));
    table.linear({.weights = &weights_,
                  .activations = activations,
                  .x = x.view(),
                  .m = m,
                  .steps = lanes.steps.data(),
                  .num_steps = static_cast<std::int32_t>(lanes.steps.size()),
                  .block_begin = 0,
                  .block_end = weights_.row_blocks(),
                  .out = out.data(),
                  .row_stride = padded,
                  .segment_stride = m * padded});
    return out;
  }

  std::vector<const cpu::KernelTable*> tables_;
  Arena arena_;
  PackedMatrix weights_;
  RandomMatrix stored_;
  std::vector<float> x_;
};

TEST_P(Linear, EqualsTheDoublePrecisionProduct) {
  const auto [type, activations, m, n, k, layout] = GetParam();
  const std::int64_t padded = weights_.row_blocks() * kRowBlock;
  const auto out = product(*tables_.front(), whole_sum(k));  // the others: the same bits
  const Activations x(*tables_.front(), x_, m, k);
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double expected = 0, magnitude = 0, half_steps = 0;
      for (std::int64_t c = 0; c < k; ++c) {
        const double term = weight(j, c) * x_[i * k + c];
        expected += term;
        magnitude += std::fabs(term);
        half_steps += std::fabs(weight(j, c)) * x.scales[(i * k + c) / 32] / 2;
      }
      // Bytes: by at most half a step each. Rounding to bf16: by at most 2^-8. A matrix unit cuts
      // weights as well, by at most 2^-7 less what they are grown by.
      const double bound = activations == ActivationFormat::int8   ? half_steps + magnitude * 1e-5
                           : layout == PackedLayout::rows          ? magnitude * 0.0092
                           : activations == ActivationFormat::bf16 ? magnitude * 0.004
                                                                   : magnitude * 1e-5 + 1e-6;
      EXPECT_NEAR(out[i * padded + j], expected, bound) << i << "," << j;
    }
  }
}

TEST_P(Linear, GivesTheSameBitsInEveryFamily) {
  const auto lanes = whole_sum(GetParam().k);
  const auto expected = bits(product(*tables_.front(), lanes));
  for (const cpu::KernelTable* table : tables_) {
    EXPECT_EQ(bits(product(*table, lanes)), expected) << table->name;
  }
}

TEST_P(Linear, GivesARowTheSameBitsInAnyBatch) {
  const auto [type, activations, m, n, k, layout] = GetParam();
  const std::int64_t padded = weights_.row_blocks() * kRowBlock;
  const auto lanes = whole_sum(k);
  for (const cpu::KernelTable* table : tables_) {
    if (table != tables_.front() && table != tables_.back()) continue;
    const auto all = product(*table, lanes);
    for (std::int64_t i = 0; i < m; ++i) {
      const std::vector<float> one(x_.begin() + i * k, x_.begin() + (i + 1) * k);
      Activations row(*table, one, 1, k);
      std::vector<float> out(static_cast<std::size_t>(padded));
      table->linear({&weights_, activations, row.view(), 1, lanes.steps.data(), 1, 0,
                     weights_.row_blocks(), out.data(), padded, padded});
      EXPECT_EQ(bits(out), bits({all.begin() + i * padded, all.begin() + (i + 1) * padded}))
          << table->name << ' ' << i;
    }
  }
}

// Row blocks are shared out over threads at any place.
TEST_P(Linear, GivesTheSameBitsHoweverRowBlocksAreShared) {
  const auto [type, activations, m, n, k, layout] = GetParam();
  const auto lanes = whole_sum(k);
  const std::int64_t padded = weights_.row_blocks() * kRowBlock;
  for (const cpu::KernelTable* table : tables_) {
    const auto whole = product(*table, lanes);
    Activations x(*table, x_, m, k);
    std::vector<float> out(whole.size());
    for (std::int64_t block = 0; block < weights_.row_blocks();) {
      const std::int64_t end = std::min(block + 1 + block % 3, weights_.row_blocks());
      table->linear({&weights_, activations, x.view(), m, lanes.steps.data(), 1, block, end,
                     out.data(), padded, m * padded});
      block = end;
    }
    EXPECT_EQ(bits(out), bits(whole)) << table->name;
  }
}

TEST_P(Linear, SumsLanesInTheOrderOfTheirProgram) {
  const auto [type, activations, m, n, k, layout] = GetParam();
  const auto groups = static_cast<std::int32_t>(k / 32);
  // Lanes of 1, 1, groups - 3 and 1 groups: ((a + b), c) leaves (a+b)+c merged, d apart.
  const LaneProgram program{{{1, 0}, {1, 1}, {groups - 3, 1}, {1, 0}}, 2};
  const LaneProgram apart{{{1, 0}, {1, 0}, {groups - 3, 0}, {1, 0}}, 4};
  for (const cpu::KernelTable* table : tables_) {
    const auto lanes = product(*table, apart);
    const auto merged = product(*table, program);
    const std::size_t size = merged.size() / 2;
    std::vector<float> expected(merged.size());
    for (std::size_t i = 0; i < size; ++i) {
      expected[i] = (lanes[i] + lanes[size + i]) + lanes[2 * size + i];
      expected[size + i] = lanes[3 * size + i];
    }
    EXPECT_EQ(bits(merged), bits(expected)) << table->name;
  }
}

// The fused products leave what the two products, the activation and the rounding leave apart,
// whether the weights are interleaved or not.
TEST_P(Linear, SwigluEqualsItsProductsApart) {
  const auto [type, activations, m, n, k, layout] = GetParam();
  const std::int64_t inner = n / 64 * 32;  // columns, when the weights are read as interleaved
  if (inner == 0) GTEST_SKIP() << "no whole group of columns";
  const auto lanes = whole_sum(k);
  const std::int64_t stride = weights_.row_blocks() * kRowBlock;
  PackedMatrix gate(packed_format(type), inner, k, arena_, layout);
  PackedMatrix up(packed_format(type), inner, k, arena_, layout);
  for (std::int64_t row = 0; row < inner; ++row) {
    const std::int64_t interleaved = row / 32 * 64 + row % 32;
    gate.set_row(row, stored_.stored(), interleaved, kFirstColumn);
    up.set_row(row, stored_.stored(), interleaved + 32, kFirstColumn);
  }
  for (const cpu::KernelTable* each : tables_) {
    const cpu::KernelTable& table = *each;
    const auto both = product(table, lanes);
    Activations x(table, x_, m, k);
    const auto run = [&](const PackedMatrix& first, const PackedMatrix& second, bool interleaved) {
      Activations out(table, std::vector<float>(static_cast<std::size_t>(m * inner)), m, inner,
                      false);
      table.swiglu({.gate = {.weights = &first,
                             .activations = activations,
                             .x = x.view(),
                             .m = m,
                             .steps = lanes.steps.data(),
                             .num_steps = static_cast<std::int32_t>(lanes.steps.size())},
                    .up = &second,
                    .interleaved = interleaved,
                    .up_activations = activations,
                    .out = out.view(),
                    .out_f32 = true,
                    .out_bf16 = true,
                    .out_int8 = true,
                    .out_tiles = table.tile_rows != nullptr,
                    .group_begin = 0,
                    .group_end = inner / 32});
      return out;
    };
    const auto out = run(weights_, weights_, true);
    EXPECT_EQ(bits(out.values), bits(run(gate, up, false).values)) << table.name;
    const Activations rounded(table, out.values, m, inner, false);
    EXPECT_EQ(out.bytes, rounded.bytes) << table.name;
    EXPECT_EQ(out.halves, rounded.halves) << table.name;
    EXPECT_EQ(out.tiles, rounded.tiles) << table.name;
    EXPECT_EQ(bits(out.half_sums), bits(rounded.half_sums)) << table.name;
    EXPECT_EQ(bits(out.offsets), bits(rounded.offsets)) << table.name;
    EXPECT_EQ(out.biases, rounded.biases) << table.name;
    for (std::int64_t row = 0; row < m; ++row) {
      for (std::int64_t column = 0; column < inner; ++column) {
        const std::int64_t at = row * stride + column / 32 * 64 + column % 32;
        const double g = both[at];
        const double expected = g / (1.0 + std::exp(-g)) * both[at + 32];
        EXPECT_NEAR(out.values[row * inner + column], expected, std::fabs(expected) * 1e-5 + 1e-30);
      }
    }
  }
}

std::vector<LinearCase> linear_cases() {
  std::vector<LinearCase> cases;
  for (const DType type :
       {DType::f32, DType::f16, DType::bf16, DType::q4_0, DType::q4_1, DType::q5_0, DType::q8_0,
        DType::q4_k, DType::q5_k, DType::q6_k, DType::gptq, DType::awq, DType::i8, DType::u4,
        DType::u4_zeros, DType::e4m3}) {
    const ActivationFormat natural = natural_activations(packed_format(type));
    cases.push_back({type, natural, 1, 1, 128});
    cases.push_back({type, natural, 3, 17, 160});
    cases.push_back({type, natural, 6, 144, 96});
    cases.push_back({type, natural, 45, 64, 576});
    if (natural == ActivationFormat::f32) continue;
    cases.push_back({type, ActivationFormat::f32, 3, 17, 160});
    if (natural == ActivationFormat::bf16) continue;
    cases.push_back({type, ActivationFormat::bf16, 19, 64, 160});
  }
  cases.push_back({DType::q4_1, ActivationFormat::int8, 150, 16, 4096});  // more than one panel
  for (const DType type : {DType::f32, DType::bf16, DType::q4_1, DType::e4m3}) {
    const ActivationFormat natural = natural_activations(packed_format(type));
    cases.push_back({type, natural, 1, 320, 96});  // streams of one, and what is left over
    cases.push_back({type, natural, 17, 64, 96});  // a tile of rows, and one row
  }
  // Every tile of a few rows; row blocks side by side, and two that are left over.
  for (const DType type : {DType::bf16, DType::q4_0, DType::q4_1, DType::q8_0}) {
    for (const std::int64_t m : {2, 3, 4, 5, 7, 8, 9, 11, 16}) {
      cases.push_back({type, natural_activations(packed_format(type)), m, 80, 128});
    }
  }
  cases.push_back({DType::bf16, ActivationFormat::bf16, 150, 80, 8192});  // more than one panel
  cases.push_back({DType::e4m3, ActivationFormat::bf16, 70, 80, 128});
  cases.push_back({DType::bf16, ActivationFormat::bf16, 70, 192, 128});
  // On a matrix unit: one token, one tile of them, two, more than two; odd numbers of row blocks.
  for (const DType type : {DType::bf16, DType::q4_0, DType::q4_1, DType::q8_0, DType::q4_k,
                           DType::q6_k, DType::gptq, DType::awq, DType::i8, DType::e4m3}) {
    for (const std::int64_t m : {1, 16, 17, 33, 83}) {
      cases.push_back({type, ActivationFormat::bf16, m, 144, 160, PackedLayout::rows});
    }
  }
  for (const DType type : {DType::bf16, DType::q4_1}) {  // widened, and not
    for (const std::int64_t m : {5, 31, 32, 48, 64, 65, 130}) {
      cases.push_back({type, ActivationFormat::bf16, m, 144, 160, PackedLayout::rows});
    }
    // SwiGLU's groups: streams of one, and one that is left over.
    for (const std::int64_t m : {1, 6, 18, 40, 60}) {
      cases.push_back({type, ActivationFormat::bf16, m, 320, 128, PackedLayout::rows});
    }
  }
  cases.push_back({DType::q4_1, ActivationFormat::bf16, 150, 16, 8192, PackedLayout::rows});
  // Two passes of tokens by two runs of weights.
  cases.push_back({DType::bf16, ActivationFormat::bf16, 33, 192, 4096, PackedLayout::rows});
  return cases;
}

std::string activations_name(ActivationFormat format) {
  switch (format) {
    case ActivationFormat::f32: return "f32";
    case ActivationFormat::bf16: return "bf16";
    case ActivationFormat::int8: break;
  }
  return "int8";
}

INSTANTIATE_TEST_SUITE_P(Shapes, Linear, testing::ValuesIn(linear_cases()), [](const auto& info) {
  return std::string(name(info.param.type)) + "_" + activations_name(info.param.activations) +
         (info.param.layout == PackedLayout::rows ? "_rows" : "") + "_m" +
         std::to_string(info.param.m) + "_n" + std::to_string(info.param.n) + "_k" +
         std::to_string(info.param.k);
});

// Weights that are only cut would be smaller by 0.27 % on average.
TEST(MatrixUnit, KeepsTheSizeOfWeightsThatItCuts) {
  constexpr std::int64_t kColumns = 8192;
  const auto tables = tables_for(PackedLayout::rows);
  if (tables.empty()) GTEST_SKIP() << "this machine has no matrix unit and cannot emulate one";
  for (const DType type : {DType::q4_0, DType::q4_1, DType::q8_0, DType::e4m3}) {
    std::mt19937 random(5);
    const RandomMatrix stored = MatrixWriter(random).matrix(type, 8, kColumns);
    Arena arena;
    PackedMatrix weights(packed_format(type), 1, kColumns, arena, PackedLayout::rows);
    weights.set_row(0, stored.stored(), 0, 0);
    std::vector<float> signs;
    double expected = 0;
    for (std::int64_t c = 0; c < kColumns; ++c) {
      const double value = stored.values[static_cast<std::size_t>(c)];
      signs.push_back(value < 0 ? -1.0f : 1.0f);
      expected += std::fabs(value);
    }
    const auto lanes = whole_sum(kColumns);
    for (const cpu::KernelTable* table : tables) {
      Activations x(*table, signs, 1, kColumns);
      float out[16];
      table->linear({&weights, ActivationFormat::bf16, x.view(), 1, lanes.steps.data(), 1, 0, 1,
                     out, 16, 16});
      EXPECT_NEAR(out[0] / expected, 1.0, 4e-4) << table->name << ' ' << name(type);
    }
  }
}

}  // namespace
}  // namespace lockstep::kernels

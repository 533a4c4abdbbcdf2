#include "kernels/cuda/embedding.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/kernels/cuda/random_values.h"
#include "tests/kernels/cuda/test_gpu.h"

namespace lockstep::kernels::cuda {
namespace {

constexpr std::int32_t kVocabulary = 37;

struct Split {
  std::int32_t begin, end;
};

// What the rank with tokens [begin, end) looks up.
std::vector<float> looked_up(const std::vector<float>& table, std::int32_t columns, Split split,
                             const std::vector<std::int32_t>& tokens, bool in_tiles,
                             const std::vector<ScoredToken>& sampled = {}) {
  const std::int64_t rows = split.end - split.begin;
  const MatrixLayout layout = in_tiles ? tiles(columns) : plain_rows(columns);
  std::vector<std::uint16_t> stored(static_cast<std::size_t>((rows + 15) / 16 * 16 * columns),
                                    0xffff);  // behind the last row: not a number
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; ++column) {
      stored[static_cast<std::size_t>(layout.at(row, column))] =
          float_to_bf16(table[static_cast<std::size_t>((row + split.begin) * columns + column)]);
    }
  }
  TestGpu memory;
  const EmbeddingArgs args{
      .table = memory.constant(stored, "table"),
      .layout = layout,
      .token_ids = memory.constant(tokens, "token_ids"),
      .sampled = memory.constant(sampled, "sampled"),
      .begin_token = split.begin,
      .end_token = split.end,
      .out = memory.blank<float>(tokens.size() * static_cast<std::size_t>(columns), "out"),
      .rows = static_cast<std::int32_t>(tokens.size()),
      .columns = columns};
  memory.gpu().run(args);
  return memory.values(args.out);
}

class CudaEmbedding : public OnTestGpu {};

TEST_F(CudaEmbedding, RanksAddUpToTheWholeTablesRows) {
  const std::vector<std::int32_t> tokens = {0, 36, 18, 5, 18, 17};
  for (const std::int32_t columns : {32, 96, 2080}) {
    const auto table = random_floats(static_cast<std::size_t>(kVocabulary * columns), 1);
    for (const auto& splits : std::vector<std::vector<Split>>{
             {{0, 37}}, {{0, 18}, {18, 37}}, {{0, 1}, {1, 36}, {36, 37}}}) {
      for (const bool in_tiles : {false, true}) {
        std::vector<float> sum(tokens.size() * static_cast<std::size_t>(columns));
        for (const Split split : splits) {
          const auto part = looked_up(table, columns, split, tokens, in_tiles);
          for (std::size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
        }
        for (std::size_t i = 0; i < sum.size(); ++i) {
          const auto token = tokens[i / std::size_t(columns)];
          const float value =
              table[static_cast<std::size_t>(token * columns) + i % std::size_t(columns)];
          ASSERT_EQ(sum[i], bf16_to_float(float_to_bf16(value))) << i;
        }
      }
    }
  }
}

TEST_F(CudaEmbedding, GivesZerosForTokensOfOtherRanks) {
  const auto table = random_floats(kVocabulary * 32, 1);
  EXPECT_THAT(looked_up(table, 32, {10, 20}, {9, 20, 36}, true), testing::Each(0.0f));
}

// Which the host need not know. One that could not be chosen has a row of zeros.
TEST_F(CudaEmbedding, LooksUpTokensThatTheStepBeforeHasChosen) {
  const auto table = random_floats(kVocabulary * 32, 1);
  const std::vector<ScoredToken> sampled = {{0.5f, 11}, {-3.0f, 36}, {}, {7.0f, 0}};
  const auto expected = looked_up(table, 32, {0, 37}, {0, 4, 11, 36}, true);
  EXPECT_EQ(looked_up(table, 32, {0, 37}, {-4, 4, -1, -2}, true, sampled), expected);
  EXPECT_THAT(looked_up(table, 32, {0, 37}, {-3}, true, sampled), testing::Each(0.0f));
}

}  // namespace
}  // namespace lockstep::kernels::cuda

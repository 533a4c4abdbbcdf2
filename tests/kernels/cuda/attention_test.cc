#include "kernels/cuda/attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "kernels/fp8.h"
#include "tests/kernels/cuda/random_values.h"
#include "tests/kernels/cuda/test_gpu.h"

namespace lockstep::kernels::cuda {
namespace {

struct AttentionCase {
  std::int32_t head_dim;
  std::vector<std::int32_t> first_query;  // of each key-value head, and behind the last
  std::int32_t block_size;
  CacheFormat format;
};

// Two sequences of 700 positions in scattered blocks.
class CudaAttention : public OnTestGpu, public testing::WithParamInterface<AttentionCase> {
 protected:
  static constexpr std::int32_t kPositions = 700;
  const float key_scale_ = 0.5f, value_scale_ = 0.25f;

  void SetUp() override {
    OnTestGpu::SetUp();
    const auto& [head_dim, first_query, block_size, format] = GetParam();
    heads_ = static_cast<std::int32_t>(first_query.size()) - 1;
    blocks_each_ = (kPositions + block_size - 1) / block_size;
    for (std::int32_t i = 0; i < 2 * blocks_each_; ++i) table_.push_back(i);
    std::mt19937 random(9);
    std::shuffle(table_.begin(), table_.end(), random);
    const auto size = static_cast<std::size_t>(2 * blocks_each_ * heads_ * block_size * head_dim);
    keys_ = stored(random_floats(size, 1));
    values_ = stored(random_floats(size, 2));
  }

  // Numbers as they lie in the cache.
  std::vector<std::uint8_t> stored(const std::vector<float>& numbers) const {
    std::vector<std::uint8_t> bytes;
    for (const float number : numbers) {
      if (GetParam().format == CacheFormat::e4m3) {
        bytes.push_back(float_to_e4m3(number));
      } else {
        bytes.push_back(static_cast<std::uint8_t>(float_to_bf16(number)));
        bytes.push_back(static_cast<std::uint8_t>(float_to_bf16(number) >> 8));
      }
    }
    return bytes;
  }
  double number(const std::vector<std::uint8_t>& bytes, std::size_t at) const {
    if (GetParam().format == CacheFormat::e4m3) return e4m3_to_float(bytes[at]);
    return bf16_to_float(static_cast<std::uint16_t>(bytes[2 * at] | bytes[2 * at + 1] << 8));
  }
  std::size_t place(std::int32_t sequence, std::int32_t head, std::int32_t position) const {
    const auto& [head_dim, first_query, block_size, format] = GetParam();
    const auto block =
        table_[static_cast<std::size_t>(sequence * blocks_each_ + position / block_size)];
    return static_cast<std::size_t>(((block * heads_ + head) * block_size + position % block_size) *
                                    head_dim);
  }
  std::int32_t query_heads() const { return GetParam().first_query.back(); }
  std::size_t row_size() const {
    return static_cast<std::size_t>(query_heads() * GetParam().head_dim);
  }

  // A row's query: the same wherever the row stands.
  std::vector<std::uint16_t> query(RowPlace row) const {
    return to_bf16(
        random_floats(row_size(), static_cast<unsigned>(row.sequence * 1000 + row.position)));
  }

  // [rows, query_heads, head_dim]. `positions`: those of both sequences that the cache holds; what
  // lies behind them is not a number.
  std::vector<std::uint16_t> attended(const std::vector<RowPlace>& rows, bool in_parts,
                                      std::int32_t positions = kPositions) const {
    const auto& [head_dim, first_query, block_size, format] = GetParam();
    auto keys = keys_, values = values_;
    const std::size_t bytes = format == CacheFormat::bf16 ? 2 : 1;
    for (std::int32_t sequence = 0; sequence < 2; ++sequence) {
      for (std::int32_t position = positions; position < kPositions; ++position) {
        for (std::int32_t head = 0; head < heads_; ++head) {
          const auto first = static_cast<std::ptrdiff_t>(place(sequence, head, position) * bytes);
          const auto count = static_cast<std::ptrdiff_t>(head_dim * bytes);
          std::fill_n(keys.begin() + first, count, 0xff);
          std::fill_n(values.begin() + first, count, 0xff);
        }
      }
    }
    std::vector<std::uint16_t> queries;
    std::int32_t chunks = 1;
    for (const RowPlace row : rows) {
      const auto one = query(row);
      queries.insert(queries.end(), one.begin(), one.end());
      chunks = std::max(chunks, chunks_up_to(row.position));
    }
    const auto runs = head_runs(first_query);
    TestGpu memory;
    const auto count = static_cast<std::int32_t>(rows.size());
    AttentionArgs args{
        .q = memory.constant(queries, "queries"),
        .cache = {.keys = const_cast<std::uint8_t*>(memory.constant(keys, "keys")),
                  .values = const_cast<std::uint8_t*>(memory.constant(values, "values")),
                  .format = format,
                  .heads = heads_,
                  .block_size = block_size,
                  .head_dim = head_dim,
                  .key_scale = key_scale_,
                  .value_scale = value_scale_},
        .tables = {memory.constant(table_, "block tables"), blocks_each_},
        .places = memory.constant(rows, "places"),
        .runs = memory.constant(runs, "runs"),
        .out = memory.blank<std::uint16_t>(queries.size(), "out"),
        .parts = nullptr,
        .rows = count,
        .query_heads = query_heads(),
        .num_runs = static_cast<std::int32_t>(runs.size()),
        .chunks = chunks,
        .scale = 1.0f / std::sqrt(static_cast<float>(head_dim))};
    if (in_parts) {
      const auto floats = attention_part_floats(count, chunks, query_heads(), head_dim);
      args.parts = memory.blank<float>(static_cast<std::size_t>(floats), "parts");
    }
    memory.gpu().run(args);
    return memory.values(args.out);
  }

  // softmax(q k^T / sqrt(head_dim)) v of one query head, by the formula.
  std::vector<double> formula(RowPlace row, std::int32_t query_head) const {
    const auto& [head_dim, first_query, block_size, format] = GetParam();
    const auto next = std::upper_bound(first_query.begin(), first_query.end(), query_head);
    const auto head = static_cast<std::int32_t>(next - first_query.begin()) - 1;
    const auto q = part(query(row), static_cast<std::size_t>(query_head * head_dim),
                        static_cast<std::size_t>(head_dim));
    std::vector<double> scores;
    for (std::int32_t position = 0; position <= row.position; ++position) {
      double dot = 0;
      for (std::size_t d = 0; d < q.size(); ++d) {
        dot += bf16_to_float(q[d]) * key_scale_ *
               number(keys_, place(row.sequence, head, position) + d);
      }
      scores.push_back(dot / std::sqrt(static_cast<double>(head_dim)));
    }
    const double largest = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    std::vector<double> out(q.size());
    for (std::int32_t position = 0; position <= row.position; ++position) {
      const double weight = std::exp(scores[static_cast<std::size_t>(position)] - largest);
      sum += weight;
      for (std::size_t d = 0; d < q.size(); ++d) {
        out[d] += weight * value_scale_ * number(values_, place(row.sequence, head, position) + d);
      }
    }
    for (double& value : out) value /= sum;
    return out;
  }

  std::int32_t heads_ = 0, blocks_each_ = 0;
  std::vector<std::int32_t> table_;
  std::vector<std::uint8_t> keys_, values_;
};

TEST_P(CudaAttention, EqualsTheFormula) {
  const std::vector<RowPlace> rows = {{0, 0}, {1, 1}, {0, 6}, {1, 255}, {0, 256}, {1, 699}};
  const auto out = attended(rows, false);
  const auto head_dim = static_cast<std::size_t>(GetParam().head_dim);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    for (std::int32_t head = 0; head < query_heads(); ++head) {
      const auto expected = formula(rows[row], head);
      for (std::size_t d = 0; d < head_dim; ++d) {
        const auto at = row * row_size() + static_cast<std::size_t>(head) * head_dim + d;
        EXPECT_NEAR(bf16_to_float(out[at]), expected[d], std::fabs(expected[d]) * 0x1.02p-8 + 1e-6)
            << "row " << row << ", head " << head << ", " << d;
      }
    }
  }
}

TEST_P(CudaAttention, PartsGiveTheSameBits) {
  const std::vector<RowPlace> rows = {{0, 0}, {1, 255}, {0, 256}, {1, 511}, {0, 699}};
  EXPECT_EQ(attended(rows, true), attended(rows, false));
}

// A prompt in one piece, in three, and a row after the other: with nothing behind it in the cache.
TEST_P(CudaAttention, GivesTheSameBitsHoweverAPromptIsCut) {
  std::vector<RowPlace> prompt;
  for (std::int32_t position = 250; position < 262; ++position) prompt.push_back({1, position});
  const auto whole = attended(prompt, false);
  for (const std::vector<std::size_t>& cuts : std::vector<std::vector<std::size_t>>{
           {0, 5, 7, 12}, {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12}}) {
    std::vector<std::uint16_t> pieces;
    for (std::size_t i = 1; i < cuts.size(); ++i) {
      const auto rows = part(prompt, cuts[i - 1], cuts[i] - cuts[i - 1]);
      const auto piece = attended(rows, i % 2 == 0, rows.back().position + 1);
      pieces.insert(pieces.end(), piece.begin(), piece.end());
    }
    EXPECT_EQ(pieces, whole);
  }
}

INSTANTIATE_TEST_SUITE_P(Heads, CudaAttention,
                         testing::Values(AttentionCase{32, {0, 1}, 16, CacheFormat::bf16},
                                         AttentionCase{64, {0, 3, 6}, 16, CacheFormat::bf16},
                                         AttentionCase{128, {0, 5}, 64, CacheFormat::bf16},
                                         AttentionCase{96, {0, 1, 3}, 7, CacheFormat::e4m3},
                                         AttentionCase{256, {0, 2}, 32, CacheFormat::e4m3}),
                         [](const auto& info) {
                           return "dim" + std::to_string(info.param.head_dim) +
                                  (info.param.format == CacheFormat::bf16 ? "_bf16" : "_e4m3");
                         });

}  // namespace
}  // namespace lockstep::kernels::cuda

// Every CPU family's attention against double precision, and against the others bit for bit.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <string>

#include "kernels/cpu_family.h"
#include "kernels/half.h"
#include "kernels/kv_format.h"
#include "tests/kernels/emulated_unit/emulated_unit.h"
#include "tests/kernels/random_values.h"

namespace lockstep::kernels {
namespace {

// The kernels of a family, or those for a matrix unit on an emulated one; null where this machine
// cannot run them.
const cpu::KernelTable* kernels_of(const std::string& family) {
  if (family == "emulated_unit") return can_emulate_unit() ? &emulated_unit_table() : nullptr;
  const auto supported = supported_families();
  const auto at = std::ranges::find(supported, family, [](CpuFamily f) { return name(f); });
  return at == supported.end() ? nullptr : &kernel_table(*at);
}

// A cache of one key-value head in shuffled blocks, and the whole computation in double.
class PagedAttention : public testing::TestWithParam<std::tuple<std::string, KvFormat>> {
 protected:
  static constexpr int kHeadDim = 64, kHeads = 3, kBlockSize = 32, kPositions = 1101;
  static constexpr int kBlocks = 36;  // one more than needed; 7 and 36 share no divisor

  void SetUp() override {
    kernels_ = kernels_of(std::get<0>(GetParam()));
    if (kernels_ == nullptr) GTEST_SKIP() << "this machine has no " << std::get<0>(GetParam());
    for (int i = 0; i < kBlocks; ++i) table_.push_back((i * 7 + 3) % kBlocks);
    cache_ = filled(*kernels_);
  }

  // Whose bits are to be the same: a matrix unit has its own.
  const cpu::KernelTable& reference() const {
    return kernels_->bf16_layout == PackedLayout::rows ? emulated_unit_table()
                                                       : kernel_table(CpuFamily::scalar);
  }
  static KvFormat format() { return std::get<1>(GetParam()); }
  static std::int64_t tile_bytes() { return kv_tile_bytes(format(), kHeadDim); }
  static std::int64_t half_block() { return kBlockSize / kKvTile * tile_bytes(); }

  std::vector<std::byte> filled(const cpu::KernelTable& kernels) const {
    // What others left must not matter, even if it is not a number.
    std::vector<std::byte> cache(static_cast<std::size_t>(kBlocks * 2 * half_block()),
                                 std::byte{0xff});
    for (int p = 0; p < kPositions; ++p) {
      std::byte* keys = cache.data() + table_[p / kBlockSize] * 2 * half_block() +
                        p % kBlockSize / kKvTile * tile_bytes();
      kernels.store_kv(format(), &keys_[p * kHeadDim], &values_[p * kHeadDim], kHeadDim, keys,
                       keys + half_block(), p % kKvTile);
    }
    return cache;
  }

  cpu::AttentionCall call(int first, int rows) {
    out_.assign(static_cast<std::size_t>(rows) * kHeads * kHeadDim, 0.0f);
    return {.q = &queries_[first * kHeads * kHeadDim],
            .out = out_.data(),
            .query_stride = kHeads * kHeadDim,
            .out_stride = kHeads * kHeadDim,
            .rows = rows,
            .first_position = first,
            .heads = kHeads,
            .head_dim = kHeadDim,
            .scale = 0.125f,
            .format = format(),
            .cache = cache_.data(),
            .block_stride = 2 * half_block(),
            .value_offset = half_block(),
            .tiles_per_block = kBlockSize / kKvTile,
            .block_table = table_.data(),
            .scratch = scratch_.data()};
  }

  std::vector<float> attend(const cpu::KernelTable& kernels, int first, int rows) {
    kernels.attention(call(first, rows));
    return out_;
  }

  // What the cache makes of row p of some numbers.
  std::vector<double> stored(const std::vector<float>& all, int p) const {
    const float* x = &all[p * kHeadDim];
    float largest = 0.0f;
    for (int d = 0; d < kHeadDim; ++d) largest = std::max(largest, std::fabs(x[d]));
    std::vector<double> row;
    for (int d = 0; d < kHeadDim; ++d) {
      row.push_back(format() == KvFormat::bf16
                        ? double{bf16_to_float(float_to_bf16(x[d]))}
                        : std::nearbyint(double{x[d] * (127.0f / largest)}) * (largest / 127.0));
    }
    return row;
  }

  const std::vector<float> keys_ = random_floats(kPositions * kHeadDim, 8);
  const std::vector<float> values_ = random_floats(kPositions * kHeadDim, 9);
  const std::vector<float> queries_ = random_floats(kPositions * kHeads * kHeadDim, 10, 2.0f);
  const cpu::KernelTable* kernels_ = nullptr;
  std::vector<std::byte> cache_;
  std::vector<std::int32_t> table_;
  std::vector<float> out_;
  std::vector<float> scratch_ =
      std::vector<float>(static_cast<std::size_t>(cpu::attention_scratch_floats(kHeads, kHeadDim)));
};

TEST_P(PagedAttention, EqualsSoftmaxInDoublePrecision) {
  const auto out = attend(*kernels_, 0, kPositions);
  std::vector<std::vector<double>> keys, values;
  for (int p = 0; p < kPositions; ++p) {
    keys.push_back(stored(keys_, p));
    values.push_back(stored(values_, p));
  }
  for (int p = 0; p < kPositions; p += p < 70 ? 1 : 41) {
    for (int h = 0; h < kHeads; ++h) {
      const float* q = &queries_[(p * kHeads + h) * kHeadDim];
      std::vector<double> weight(p + 1), expected(kHeadDim), magnitude(kHeadDim);
      double total = 0;
      for (int s = 0; s <= p; ++s) {
        double score = 0;
        for (int d = 0; d < kHeadDim; ++d) {
          score += double{bf16_to_float(float_to_bf16(q[d]))} * keys[s][d];
        }
        total += weight[s] = std::exp(score * 0.125);
      }
      for (int s = 0; s <= p; ++s) {
        for (int d = 0; d < kHeadDim; ++d) {
          const double term = weight[s] / total * values[s][d];
          expected[d] += term;
          magnitude[d] += std::fabs(term);
        }
      }
      for (int d = 0; d < kHeadDim; ++d) {
        // Weights are rounded to bf16: by at most 2^-8 of each.
        EXPECT_NEAR(out[(p * kHeads + h) * kHeadDim + d], expected[d], magnitude[d] * 0.004 + 2e-5)
            << "position " << p << ", head " << h;
      }
    }
  }
}

TEST_P(PagedAttention, StoresTheSameBytesInEveryFamily) {
  EXPECT_EQ(cache_, filled(kernel_table(CpuFamily::scalar)));
}

TEST_P(PagedAttention, GivesTheSameBitsInPartsOfThePromptAndInEveryFamily) {
  const auto whole = bits(attend(reference(), 0, kPositions));
  EXPECT_EQ(bits(attend(*kernels_, 0, kPositions)), whole);
  std::vector<std::uint32_t> parts;
  for (int first = 0; first < kPositions; first += 37) {
    const auto part = bits(attend(*kernels_, first, std::min(37, kPositions - first)));
    parts.insert(parts.end(), part.begin(), part.end());
  }
  EXPECT_EQ(parts, whole);
}

// One row, and as many as share a pass, also such as lie in two chunks.
TEST_P(PagedAttention, GivesTheSameBitsChunkByChunkInAnyOrder) {
  for (const auto& [first, rows] : {std::pair{0, 1},
                                    {511, 1},
                                    {512, 1},
                                    {1023, 1},
                                    {1024, 1},
                                    {1100, 1},
                                    {0, 3},
                                    {510, 2},
                                    {511, 2},
                                    {508, 8},
                                    {1017, 8},
                                    {1020, 3},
                                    {1090, 5}}) {
    std::vector<std::uint32_t> alone;
    for (int row = first; row < first + rows; ++row) {
      const auto of_row = bits(attend(*kernels_, row, 1));
      alone.insert(alone.end(), of_row.begin(), of_row.end());
    }
    const int chunks = (first + rows - 1) / cpu::kAttentionChunk + 1;
    const auto floats =
        static_cast<std::size_t>(cpu::attention_part_floats(rows * kHeads, kHeadDim));
    std::vector<float> parts(chunks * floats, std::nanf(""));
    for (int chunk = chunks - 1; chunk >= 0; --chunk) {
      kernels_->attention_chunk(call(first, rows), chunk, parts.data() + chunk * floats);
    }
    kernels_->combine_chunks(call(first, rows), parts.data());
    EXPECT_EQ(bits(out_), alone) << rows << " rows from " << first;
  }
}

TEST_P(PagedAttention, TakesAKeyOfZeros) {
  std::vector<float> zeros(kHeadDim, 0.0f);
  kernels_->store_kv(format(), zeros.data(), zeros.data(), kHeadDim,
                     cache_.data() + table_[0] * 2 * half_block(),
                     cache_.data() + table_[0] * 2 * half_block() + half_block(), 0);
  for (const float value : attend(*kernels_, 0, 1)) EXPECT_EQ(value, 0.0f);
}

// More query heads than a matrix unit has rows, of a size that is no power of two; rows of queries
// have something behind them.
TEST_P(PagedAttention, GivesAHeadTheSameBitsInAnyCompany) {
  constexpr int kDim = 96, kMany = 20, kRows = 5, kFirst = 66;
  constexpr int kQueryStride = (kMany + 3) * kDim;
  const std::int64_t bytes = kv_tile_bytes(format(), kDim);
  constexpr int kTiles = (kFirst + kRows + kKvTile - 1) / kKvTile;
  std::vector<std::byte> cache(static_cast<std::size_t>(2 * kTiles * bytes), std::byte{0xff});
  const auto numbers = random_floats((kFirst + kRows) * kDim, 12);
  for (int p = 0; p < kFirst + kRows; ++p) {
    std::byte* keys = cache.data() + p / kKvTile * bytes;
    kernels_->store_kv(format(), &numbers[p * kDim], &numbers[p * kDim], kDim, keys,
                       keys + kTiles * bytes, p % kKvTile);
  }
  const auto queries = random_floats(kRows * kQueryStride, 13);
  std::vector<float> all(kRows * kMany * kDim), one(all.size()), alone(all.size());
  std::vector<float> scratch(static_cast<std::size_t>(cpu::attention_scratch_floats(kMany, kDim)));
  std::vector<std::int32_t> blocks(kTiles);
  std::iota(blocks.begin(), blocks.end(), 0);
  cpu::AttentionCall call{.q = queries.data(),
                          .out = all.data(),
                          .query_stride = kQueryStride,
                          .out_stride = kMany * kDim,
                          .rows = kRows,
                          .first_position = kFirst,
                          .heads = kMany,
                          .head_dim = kDim,
                          .scale = 0.1f,
                          .format = format(),
                          .cache = cache.data(),
                          .block_stride = bytes,
                          .value_offset = kTiles * bytes,
                          .tiles_per_block = 1,
                          .block_table = blocks.data(),
                          .scratch = scratch.data()};
  kernels_->attention(call);
  call.heads = 1;
  for (int head = 0; head < kMany; ++head) {
    call.q = queries.data() + head * kDim;
    call.out = one.data() + head * kDim;
    kernels_->attention(call);
  }
  EXPECT_EQ(bits(all), bits(one));
  call.rows = 1;
  for (int row = 0; row < kRows; ++row) {
    call.first_position = kFirst + row;
    for (int head = 0; head < kMany; ++head) {
      call.q = queries.data() + row * kQueryStride + head * kDim;
      call.out = alone.data() + (row * kMany + head) * kDim;
      kernels_->attention(call);
    }
  }
  EXPECT_EQ(bits(all), bits(alone));
  for (const float value : all) EXPECT_TRUE(std::isfinite(value));
}

INSTANTIATE_TEST_SUITE_P(Cpu, PagedAttention,
                         testing::Combine(testing::Values("scalar", "avx2", "avx512", "avx512_bf16",
                                                          "amx", "emulated_unit"),
                                          testing::Values(KvFormat::bf16, KvFormat::int8)),
                         [](const auto& info) {
                           return std::get<0>(info.param) +
                                  (std::get<1>(info.param) == KvFormat::bf16 ? "_bf16" : "_int8");
                         });

}  // namespace
}  // namespace lockstep::kernels

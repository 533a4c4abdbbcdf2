#include "kernels/cuda/rope_kv.h"

#include <gtest/gtest.h>

#include <cmath>

#include "kernels/fp8.h"
#include "tests/kernels/cuda/random_values.h"
#include "tests/kernels/cuda/test_gpu.h"

namespace lockstep::kernels::cuda {
namespace {

struct RopeCase {
  std::int32_t head_dim, query_heads, heads;
  CacheFormat format;
  bool bias = false, head_norms = false;
};

// Two sequences: rows at positions 5, 6, 7 of one (blocks 3 and 1) and at 9 of the other (0, 4, 2).
class CudaRopeKv : public OnTestGpu, public testing::WithParamInterface<RopeCase> {
 protected:
  static constexpr std::int32_t kBlockSize = 4;
  static constexpr std::int32_t kBlocks = 5;
  static constexpr std::int32_t kPositions = 12;
  static constexpr float kEps = 0.01f;
  const std::vector<RowPlace> places_ = {{0, 5}, {0, 6}, {0, 7}, {1, 9}};
  const std::vector<std::int32_t> tables_ = {3, 1, -1, 0, 4, 2};
  const float key_scale_ = 0.25f, value_scale_ = 0.03f;

  void SetUp() override {
    OnTestGpu::SetUp();
    if (IsSkipped()) return;
    TestGpu memory;
    const auto [head_dim, query_heads, heads, format, has_bias, has_norms] = GetParam();
    columns_ = (query_heads + 2 * heads) * head_dim;
    qkv_ = random_floats(places_.size() * static_cast<std::size_t>(columns_), 1);
    for (int position = 0; position < kPositions; ++position) {
      for (int i = 0; i < head_dim / 2; ++i) {
        const double angle = position * std::pow(10000.0, -2.0 * i / head_dim);
        cos_.push_back(static_cast<float>(std::cos(angle)));
        sin_.push_back(static_cast<float>(std::sin(angle)));
      }
    }
    if (has_bias) bias_ = random_floats(static_cast<std::size_t>(columns_), 2);
    if (has_norms) {
      query_norm_ = random_floats(static_cast<std::size_t>(head_dim), 3);
      key_norm_ = random_floats(static_cast<std::size_t>(head_dim), 4);
    }
    const auto constant = [&](const std::vector<float>& values, const char* name) {
      return values.empty() ? nullptr : memory.constant(values, name);
    };
    const auto cached = static_cast<std::size_t>(kBlocks * heads * kBlockSize * head_dim);
    const std::size_t bytes = cached * (format == CacheFormat::bf16 ? 2 : 1);
    const float* qkv = memory.variable(qkv_, "qkv");
    args_ = {.q = qkv,
             .k = qkv + query_heads * head_dim,
             .v = qkv + (query_heads + heads) * head_dim,
             .stride = columns_,
             .cos = memory.constant(cos_, "cos"),
             .sin = memory.constant(sin_, "sin"),
             .places = memory.constant(places_, "places"),
             .tables = {memory.constant(tables_, "block tables"), 3},
             .rotated_q = memory.blank<std::uint16_t>(
                 places_.size() * static_cast<std::size_t>(query_heads * head_dim), "rotated_q"),
             .cache = {.keys = memory.blank<std::uint8_t>(bytes, "keys"),
                       .values = memory.blank<std::uint8_t>(bytes, "values"),
                       .format = format,
                       .heads = heads,
                       .block_size = kBlockSize,
                       .head_dim = head_dim,
                       .key_scale = format == CacheFormat::bf16 ? 1.0f : key_scale_,
                       .value_scale = format == CacheFormat::bf16 ? 1.0f : value_scale_},
             .rows = static_cast<std::int32_t>(places_.size()),
             .query_heads = query_heads,
             .bias = constant(bias_, "bias"),
             .query_norm = constant(query_norm_, "query norm"),
             .key_norm = constant(key_norm_, "key norm"),
             .eps = kEps};
    memory.require_waiting();
    memory.gpu().run(args_);
    rotated_q_ = memory.values(args_.rotated_q);
    keys_ = memory.values(static_cast<std::uint8_t*>(args_.cache.keys));
    values_ = memory.values(static_cast<std::uint8_t*>(args_.cache.values));
  }

  // Number i of head `head` of a row's q, k and v, rotated by the formula.
  double rotated(std::size_t row, std::int32_t head, std::int32_t i) const {
    const std::int32_t head_dim = GetParam().head_dim;
    const std::int32_t pair = i % (head_dim / 2);
    const double angle = places_[row].position * std::pow(10000.0, -2.0 * pair / head_dim);
    const double a = normed(row, head, pair), b = normed(row, head, pair + head_dim / 2);
    return i < head_dim / 2 ? a * std::cos(angle) - b * std::sin(angle)
                            : b * std::cos(angle) + a * std::sin(angle);
  }
  double normed(std::size_t row, std::int32_t head, std::int32_t i) const {
    const auto& norm = head < GetParam().query_heads ? query_norm_ : key_norm_;
    if (norm.empty()) return input(row, head, i);
    double squares = 0;
    for (std::int32_t j = 0; j < GetParam().head_dim; ++j) {
      squares += std::pow(input(row, head, j), 2);
    }
    const double scale = 1 / std::sqrt(squares / GetParam().head_dim + double{kEps});
    return input(row, head, i) * scale * norm[static_cast<std::size_t>(i)];
  }
  double input(std::size_t row, std::int32_t head, std::int32_t i) const {
    const auto column = static_cast<std::size_t>(head * GetParam().head_dim + i);
    return qkv_[row * static_cast<std::size_t>(columns_) + column] +
           (bias_.empty() ? 0.0 : double{bias_[column]});
  }
  double cached(const std::vector<std::uint8_t>& bytes, std::size_t row, std::int32_t head,
                std::int32_t i) const {
    const auto& [sequence, position] = places_[row];
    const std::int32_t block = tables_[static_cast<std::size_t>(3 * sequence + position / 4)];
    const auto at = static_cast<std::size_t>(args_.cache.at(block, head, position % 4) + i);
    if (args_.cache.format == CacheFormat::bf16) {
      return bf16_to_float(static_cast<std::uint16_t>(bytes[2 * at] | bytes[2 * at + 1] << 8));
    }
    return e4m3_to_float(bytes[at]);
  }
  // How far a number may be from what it was rounded from.
  double bound(double number) const {
    return args_.cache.format == CacheFormat::bf16 ? std::fabs(number) * 0x1.02p-8 + 1e-7
                                                   : std::fabs(number) * 0x1.02p-4 + 0x1.02p-10;
  }

  std::int32_t columns_ = 0;
  std::vector<float> qkv_, cos_, sin_, bias_, query_norm_, key_norm_;
  RopeKvArgs args_;
  std::vector<std::uint16_t> rotated_q_;
  std::vector<std::uint8_t> keys_, values_;  // the cache
};

TEST_P(CudaRopeKv, RotatesQueries) {
  const auto& q = rotated_q_;
  for (std::size_t at = 0; at < q.size(); ++at) {
    const auto head_dim = static_cast<std::size_t>(GetParam().head_dim);
    const auto heads = static_cast<std::size_t>(GetParam().query_heads);
    const double expected =
        rotated(at / head_dim / heads, static_cast<std::int32_t>(at / head_dim % heads),
                static_cast<std::int32_t>(at % head_dim));
    EXPECT_NEAR(bf16_to_float(q[at]), expected, std::fabs(expected) * 0x1.02p-8 + 1e-6);
  }
}

TEST_P(CudaRopeKv, StoresRotatedKeysAndValuesInTheirBlocks) {
  const auto [head_dim, query_heads, heads, format, has_bias, has_norms] = GetParam();
  for (std::size_t row = 0; row < places_.size(); ++row) {
    for (std::int32_t head = 0; head < heads; ++head) {
      for (std::int32_t i = 0; i < head_dim; i += 5) {
        const double key = rotated(row, query_heads + head, i) / args_.cache.key_scale;
        const double value = input(row, query_heads + heads + head, i) / args_.cache.value_scale;
        EXPECT_NEAR(cached(keys_, row, head, i), key, bound(key) + 1e-6);
        EXPECT_NEAR(cached(values_, row, head, i), value, bound(value));
      }
    }
  }
}

TEST_P(CudaRopeKv, LeavesOtherPositionsAlone) {
  const std::size_t row = GetParam().head_dim * (GetParam().format == CacheFormat::bf16 ? 2 : 1);
  for (const auto& bytes : {keys_, values_}) {
    std::size_t untouched = 0;
    for (std::size_t first = 0; first < bytes.size(); first += row) {
      untouched += part(bytes, first, row) == std::vector<std::uint8_t>(row, 0xff);
    }
    EXPECT_EQ(untouched, bytes.size() / row - places_.size() * std::size_t(GetParam().heads));
  }
}

INSTANTIATE_TEST_SUITE_P(Heads, CudaRopeKv,
                         testing::Values(RopeCase{32, 1, 1, CacheFormat::bf16},
                                         RopeCase{64, 9, 3, CacheFormat::bf16},
                                         RopeCase{128, 4, 2, CacheFormat::e4m3},
                                         RopeCase{96, 3, 1, CacheFormat::e4m3},
                                         RopeCase{128, 32, 8, CacheFormat::bf16},
                                         RopeCase{64, 7, 1, CacheFormat::bf16, true},
                                         RopeCase{128, 3, 1, CacheFormat::e4m3, false, true},
                                         RopeCase{64, 4, 1, CacheFormat::bf16, false, true},
                                         RopeCase{32, 5, 1, CacheFormat::bf16, true, true},
                                         RopeCase{256, 2, 1, CacheFormat::bf16, true, true}),
                         [](const auto& info) {
                           return "dim" + std::to_string(info.param.head_dim) + "_q" +
                                  std::to_string(info.param.query_heads) +
                                  (info.param.format == CacheFormat::bf16 ? "_bf16" : "_e4m3") +
                                  (info.param.bias ? "_biased" : "") +
                                  (info.param.head_norms ? "_normed" : "");
                         });

}  // namespace
}  // namespace lockstep::kernels::cuda

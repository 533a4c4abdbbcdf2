// Attention by FlashInfer's kernel against the own one, and against itself in other company.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/cuda/attention.h"
#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/flashinfer_attention.h"
#include "kernels/cuda/graph.h"
#include "kernels/fp8.h"
#include "tests/kernels/cuda/random_values.h"
#include "tests/kernels/cuda/row_places.h"
#include "tests/kernels/cuda_device/device_fixture.h"

namespace lockstep::kernels::cuda {
namespace {

using Bf16s = std::vector<std::uint16_t>;
constexpr std::int32_t kChunk = kFlashInferChunk;

struct FlashInferCase {
  std::int32_t head_dim, heads, group, block_size;
  CacheFormat format;
};

// Three sequences of up to 2,200 positions in scattered blocks.
class FlashInferOnDevice : public OnDevice, public testing::WithParamInterface<FlashInferCase> {
 protected:
  static constexpr std::int32_t kSequences = 3, kPositions = 2200;

  void SetUp() override {
    OnDevice::SetUp();
    if (IsSkipped()) return;
    if (!flashinfer_built_in()) GTEST_SKIP() << "this build has no FlashInfer";
    const auto& c = GetParam();
    stride_ = (kPositions + c.block_size - 1) / c.block_size;
    table_.resize(static_cast<std::size_t>(kSequences * stride_));
    std::iota(table_.begin(), table_.end(), 0);
    std::shuffle(table_.begin(), table_.end(), std::mt19937(9));
    const std::size_t size =
        table_.size() * static_cast<std::size_t>(c.heads * c.block_size * c.head_dim);
    keys_ = random_floats(size, 1);
    values_ = random_floats(size, 2);
    blocks_ = DeviceBuffer<std::int32_t>(pool(), "block tables", table_.size());
    blocks_.upload(table_, stream());
    cached_keys_ = DeviceBuffer<std::byte>(pool(), "keys", 2 * size);
    cached_values_ = DeviceBuffer<std::byte>(pool(), "values", 2 * size);
    fill_cache(kPositions, false);
  }

  std::int32_t query_heads() const { return GetParam().heads * GetParam().group; }
  std::size_t row_size() const {
    return static_cast<std::size_t>(query_heads() * GetParam().head_dim);
  }

  // Puts the first `positions` of every sequence into the cache; what lies behind is not a number.
  void fill_cache(std::int32_t positions, bool magnitudes) {
    cached_keys_.upload(stored(keys_, positions, false), stream());
    cached_values_.upload(stored(values_, positions, magnitudes), stream());
    stream().synchronize();
  }
  std::vector<std::byte> stored(const std::vector<float>& numbers, std::int32_t positions,
                                bool magnitudes) const {
    const auto& c = GetParam();
    const std::size_t width = c.format == CacheFormat::bf16 ? 2 : 1;
    std::vector<std::byte> bytes(2 * numbers.size(), std::byte{0xff});
    for (std::size_t entry = 0; entry < table_.size(); ++entry) {
      const auto first = static_cast<std::int32_t>(entry) % stride_ * c.block_size;
      for (std::int32_t i = 0; i < c.heads * c.block_size * c.head_dim; ++i) {
        if (first + i / c.head_dim % c.block_size >= positions) continue;
        const auto at = static_cast<std::size_t>(
            std::int64_t{table_[entry]} * c.heads * c.block_size * c.head_dim + i);
        const float number = magnitudes ? std::fabs(numbers[at]) : numbers[at];
        const std::uint16_t bits =
            c.format == CacheFormat::bf16 ? float_to_bf16(number) : float_to_e4m3(number);
        std::memcpy(&bytes[at * width], &bits, width);  // little endian
      }
    }
    return bytes;
  }

  PagedCache cache() const {
    const auto& c = GetParam();
    return {.keys = cached_keys_.data(),
            .values = cached_values_.data(),
            .format = c.format,
            .heads = c.heads,
            .block_size = c.block_size,
            .head_dim = c.head_dim,
            .key_scale = 0.5f,
            .value_scale = 0.25f};
  }
  float scale() const { return 1.0f / std::sqrt(static_cast<float>(GetParam().head_dim)); }

  // A row's query: the same wherever the row stands.
  Bf16s queries(const std::vector<RowPlace>& places) const {
    Bf16s all;
    for (const RowPlace place : places) {
      const auto seed = static_cast<unsigned>(place.sequence * 10000 + place.position);
      const auto query = to_bf16(random_floats(row_size(), seed, 4.0f));
      all.insert(all.end(), query.begin(), query.end());
    }
    return all;
  }

  Bf16s by_own_kernel(const std::vector<RowPlace>& places) {
    std::vector<std::int32_t> first_query;
    for (std::int32_t i = 0; i <= GetParam().heads; ++i) {
      first_query.push_back(i * GetParam().group);
    }
    const auto runs = head_runs(first_query);
    const Bf16s q = queries(places);
    DeviceBuffer<std::uint16_t> device_q(pool(), "q", q.size()), out(pool(), "out", q.size());
    DeviceBuffer<RowPlace> device_places(pool(), "places", places.size());
    DeviceBuffer<HeadRun> device_runs(pool(), "runs", runs.size());
    device_q.upload(q, stream());
    device_places.upload(places, stream());
    device_runs.upload(runs, stream());
    launch_attention({.q = device_q.data(),
                      .cache = cache(),
                      .tables = {blocks_.data(), stride_},
                      .places = device_places.data(),
                      .runs = device_runs.data(),
                      .out = out.data(),
                      .parts = nullptr,
                      .rows = static_cast<std::int32_t>(places.size()),
                      .query_heads = query_heads(),
                      .num_runs = static_cast<std::int32_t>(runs.size()),
                      .chunks = 0,
                      .scale = scale()},
                     stream().get());
    return downloaded(out);
  }

  Bf16s downloaded(const DeviceBuffer<std::uint16_t>& buffer) {
    Bf16s values(buffer.size());
    buffer.download(values, stream());
    stream().synchronize();
    return values;
  }

  // Buffers for FlashInfer's kernel that stay where they are.
  struct Workplace {
    FlashInferLayout layout;
    DeviceBuffer<std::uint16_t> q, out;
    DeviceBuffer<std::byte> plan;
    DeviceBuffer<float> values, weights;
  };
  Workplace workplace(const FlashInferLimits& limits) {
    const FlashInferLayout layout(limits);
    const auto rows = static_cast<std::size_t>(limits.rows);
    const auto parts = static_cast<std::size_t>(limits.parts);
    return {layout,
            {pool(), "q", rows * row_size()},
            {pool(), "out", rows * row_size()},
            {pool(), "plan", static_cast<std::size_t>(layout.bytes)},
            {pool(), "values", parts * row_size()},
            {pool(), "weights", parts * static_cast<std::size_t>(query_heads())}};
  }
  FlashInferPlan prepare(Workplace& at, const std::vector<RowPlace>& places) {
    std::vector<std::byte> buffer(static_cast<std::size_t>(at.layout.bytes));
    const FlashInferShape shape{.group = GetParam().group,
                                .block_size = GetParam().block_size,
                                .stride = stride_,
                                .sequences = kSequences};
    const FlashInferPlan plan = plan_flashinfer(shape, places, at.layout, buffer);
    at.plan.upload(buffer, stream());
    at.q.upload(queries(places), stream());
    stream().synchronize();
    return plan;
  }
  FlashInferArgs args(const Workplace& at) const {
    return {.q = at.q.data(),
            .cache = cache(),
            .blocks = blocks_.data(),
            .plan = at.plan.data(),
            .values = at.values.data(),
            .weights = at.weights.data(),
            .out = at.out.data(),
            .query_heads = query_heads(),
            .scale = scale()};
  }

  Bf16s attended(const std::vector<RowPlace>& places, std::int64_t parts = 2000) {
    auto at = workplace({.rows = static_cast<std::int32_t>(places.size()),
                         .short_items = 600,
                         .long_items = 200,
                         .parts = parts});
    const FlashInferPlan plan = prepare(at, places);
    waves_ = plan.waves.size();
    for (const FlashInferWave& wave : plan.waves) {
      launch_flashinfer(args(at), at.layout, wave, grid_of(wave), stream().get());
    }
    return downloaded(at.out);
  }

  std::size_t waves_ = 0;
  std::int32_t stride_ = 0;
  std::vector<std::int32_t> table_;
  std::vector<float> keys_, values_;
  DeviceBuffer<std::int32_t> blocks_;
  DeviceBuffer<std::byte> cached_keys_, cached_values_;
};

// FlashInfer rounds the weights of a softmax to bf16, the own kernel does not: a result is off by
// at most 2^-8 of the same sum of the values' magnitudes. Both round what they give.
TEST_P(FlashInferOnDevice, IsNearTheOwnKernel) {
  std::vector<RowPlace> places = {
      {0, 0}, {2, kPositions - 1}, {0, kChunk - 1}, {0, kChunk}, {1, 63}};
  for (const RowPlace place : rows_of(1, kChunk - 30, 200)) places.push_back(place);
  for (const RowPlace place : rows_of(2, 0, 70)) places.push_back(place);
  const Bf16s out = attended(places);
  const Bf16s expected = by_own_kernel(places);
  fill_cache(kPositions, true);
  const Bf16s magnitudes = by_own_kernel(places);
  for (std::size_t i = 0; i < out.size(); ++i) {
    const float number = bf16_to_float(expected[i]);
    ASSERT_NEAR(bf16_to_float(out[i]), number,
                (std::fabs(number) + 1.1f * bf16_to_float(magnitudes[i])) * 0x1p-8f + 1e-5f)
        << "row " << i / row_size() << ", number " << i % row_size();
  }
}

// One row at a time is what decoding does; pieces of 43 rows are long tiles, of 7 and 1 short ones.
// What is behind a piece is not in the cache yet.
TEST_P(FlashInferOnDevice, GivesTheSameBitsHoweverAPromptIsCut) {
  constexpr std::int32_t kFirst = kChunk - 40, kRows = 150;
  const Bf16s whole = attended(rows_of(1, kFirst, kRows));
  for (const std::int32_t piece : {1, 7, 43}) {
    Bf16s pieces;
    for (std::int32_t row = 0; row < kRows; row += piece) {
      const std::int32_t count = std::min(piece, kRows - row);
      fill_cache(kFirst + row + count, false);
      const Bf16s out = attended(rows_of(1, kFirst + row, count));
      pieces.insert(pieces.end(), out.begin(), out.end());
    }
    ASSERT_EQ(pieces, whole) << "pieces of " << piece;
  }
}

TEST_P(FlashInferOnDevice, GivesARowTheSameBitsInAnyCompany) {
  const RowPlace row{0, kChunk + 77};
  const Bf16s alone = attended({row});
  for (const std::int32_t others : {1, 5, 64}) {
    const auto places = in_company(row, others, kPositions);
    const Bf16s all = attended(places);
    EXPECT_EQ(part(all, static_cast<std::size_t>(others) * row_size(), row_size()), alone);
  }
}

TEST_P(FlashInferOnDevice, GivesTheSameBitsWhereItsPartsDoNotFitAtOnce) {
  const auto prompt = rows_of(1, kChunk - 40, 150);
  const Bf16s whole = attended(prompt);
  EXPECT_EQ(waves_, 1u);
  EXPECT_EQ(attended(prompt, 2 * kLongTile / GetParam().group), whole);
  EXPECT_GT(waves_, 1u);
}

// A graph has blocks for more items than its rows have, and is launched again for longer sequences.
TEST_P(FlashInferOnDevice, IsRecordedOnceForSequencesThatGrow) {
  const auto decoding = [](std::int32_t position) {
    return std::vector<RowPlace>{{0, position}, {1, position / 3}, {2, -1}, {2, -1}};
  };
  auto at = workplace({.rows = 4, .short_items = 16, .long_items = 0, .parts = 16});
  const FlashInferWave wave = prepare(at, decoding(100)).waves.front();
  launch_flashinfer(args(at), at.layout, wave, grid_of(wave), stream().get());  // loads the code
  stream().synchronize();
  const FlashInferGrid grid{.short_items = 16, .long_items = 0, .rows = 4};
  const Graph graph = Graph::capture(
      stream(), [&] { launch_flashinfer(args(at), at.layout, wave, grid, stream().get()); });
  for (const std::int32_t position : {0, 100, kChunk, kPositions - 1}) {
    auto places = decoding(position);
    prepare(at, places);
    graph.launch(stream());
    const Bf16s out = downloaded(at.out);
    places.resize(2);
    EXPECT_EQ(part(out, 0, 2 * row_size()), attended(places)) << position;
    EXPECT_EQ(part(out, 2 * row_size(), 2 * row_size()), Bf16s(2 * row_size())) << position;
  }
}

INSTANTIATE_TEST_SUITE_P(Heads, FlashInferOnDevice,
                         testing::Values(FlashInferCase{64, 1, 3, 16, CacheFormat::bf16},
                                         FlashInferCase{64, 2, 1, 32, CacheFormat::bf16},
                                         FlashInferCase{128, 2, 4, 16, CacheFormat::bf16},
                                         FlashInferCase{128, 1, 8, 64, CacheFormat::bf16},
                                         FlashInferCase{64, 3, 3, 16, CacheFormat::e4m3},
                                         FlashInferCase{128, 2, 8, 16, CacheFormat::e4m3}),
                         [](const auto& info) {
                           return "dim" + std::to_string(info.param.head_dim) + "_group" +
                                  std::to_string(info.param.group) +
                                  (info.param.format == CacheFormat::bf16 ? "_bf16" : "_e4m3");
                         });

}  // namespace
}  // namespace lockstep::kernels::cuda

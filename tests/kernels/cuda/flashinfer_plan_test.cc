#include "kernels/cuda/flashinfer_plan.h"

#include <gmock/gmock.h>

#include <numeric>
#include <string>

#include "base/error.h"
#include "kernels/cuda/flashinfer_combine.cuh"
#include "tests/kernels/cuda/block_executor.h"
#include "tests/kernels/cuda/flashinfer_reference.h"
#include "tests/kernels/cuda/random_values.h"
#include "tests/kernels/cuda/row_places.h"

namespace lockstep::kernels::cuda {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::int32_t kChunk = kFlashInferChunk;

struct Planned {
  FlashInferLayout layout;
  std::vector<std::byte> buffer;
  FlashInferPlan plan;

  std::vector<std::int32_t> ints(std::int64_t offset, std::int32_t count) const {
    const auto* first = reinterpret_cast<const std::int32_t*>(buffer.data() + offset);
    return {first, first + count};
  }
};

Planned planned(const FlashInferShape& shape, const std::vector<RowPlace>& places,
                const FlashInferLimits& limits) {
  Planned result{FlashInferLayout(limits), {}, {}};
  result.buffer.resize(static_cast<std::size_t>(result.layout.bytes), std::byte{0x5a});
  result.plan = plan_flashinfer(shape, places, result.layout, result.buffer);
  return result;
}

std::vector<RowPlace> joined(std::vector<RowPlace> a, const std::vector<RowPlace>& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

constexpr FlashInferShape kShape{.group = 4, .block_size = 16, .stride = 200, .sequences = 3};
constexpr FlashInferLimits kLimits{.rows = 256, .short_items = 64, .long_items = 48, .parts = 4096};

TEST(FlashInferPlan, GivesEachRowThatDecodesAnItemPerChunkOfItsKeys) {
  const auto p = planned(kShape, {{2, kChunk - 1}, {0, kChunk}, {1, 0}}, kLimits);
  const FlashInferTiles& tiles = p.layout.short_tiles;
  EXPECT_EQ(p.plan.short_items, 4);
  EXPECT_EQ(p.plan.long_items, 0);
  EXPECT_THAT(p.ints(tiles.tile, 4), ElementsAre(0, 1, 1, 2));
  EXPECT_THAT(p.ints(tiles.chunk, 4), ElementsAre(0, 0, 1, 0));
  EXPECT_THAT(p.ints(tiles.rows, 3), ElementsAre(1, 1, 1));
  EXPECT_THAT(p.ints(tiles.keys, 3), ElementsAre(kChunk, kChunk + 1, 1));
  EXPECT_THAT(p.ints(tiles.first_row, 3), ElementsAre(0, 1, 2));
  EXPECT_THAT(p.ints(tiles.first_block, 3), ElementsAre(400, 0, 200));
  EXPECT_THAT(p.ints(tiles.first_part, 3), ElementsAre(0, 1, 3));
  EXPECT_THAT(p.ints(p.layout.row_part, 3), ElementsAre(0, 1, 3));
  EXPECT_THAT(p.ints(p.layout.row_chunks, 3), ElementsAre(1, 2, 1));
}

TEST(FlashInferPlan, EndsTheBlockTablesBehindTheLastSequence) {
  const auto p = planned(kShape, {{0, 0}}, kLimits);
  EXPECT_EQ(p.ints(p.layout.short_tiles.first_block, kLimits.short_items + 1).back(), 600);
  EXPECT_EQ(p.ints(p.layout.long_tiles.first_block, kLimits.long_items + 1).back(), 600);
}

TEST(FlashInferPlan, MarksItemsPastTheLastAsNotValid) {
  const auto p = planned(kShape, {{0, 0}, {1, kChunk}}, kLimits);
  std::vector<std::byte> valid(p.buffer.begin() + p.layout.short_tiles.valid,
                               p.buffer.begin() + p.layout.short_tiles.valid + kLimits.short_items);
  std::vector<std::byte> expected(kLimits.short_items, std::byte{0});
  std::fill_n(expected.begin(), 3, std::byte{1});
  EXPECT_EQ(valid, expected);
}

TEST(FlashInferPlan, CutsAPromptIntoLongTilesAndAShortRest) {
  const auto p =
      planned(kShape, rows_of(1, 7, 67), kLimits);  // tiles of 128 / 4 rows, and of 16 / 4
  EXPECT_THAT(p.ints(p.layout.long_tiles.rows, 2), ElementsAre(32, 32));
  EXPECT_THAT(p.ints(p.layout.long_tiles.keys, 2), ElementsAre(39, 71));
  EXPECT_THAT(p.ints(p.layout.long_tiles.first_row, 2), ElementsAre(0, 32));
  EXPECT_THAT(p.ints(p.layout.short_tiles.rows, 1), ElementsAre(3));
  EXPECT_THAT(p.ints(p.layout.short_tiles.first_row, 1), ElementsAre(64));
  EXPECT_THAT(p.ints(p.layout.short_tiles.keys, 1), ElementsAre(74));
}

TEST(FlashInferPlan, GivesRowsWithoutAPositionNoChunks) {
  const auto p = planned(kShape, {{0, 5}, {0, -1}, {0, -1}}, kLimits);
  EXPECT_THAT(p.ints(p.layout.row_chunks, 3), ElementsAre(1, 0, 0));
  EXPECT_EQ(p.plan.short_items, 1);
}

TEST(FlashInferPlan, FitsIntoTheLeastRoomForParts) {
  const auto prompt = rows_of(0, 3000, 200);
  const std::int64_t parts = least_parts(kShape.group, 3200);
  EXPECT_EQ(parts, 32 * 4);
  const auto p =
      planned(kShape, prompt, {.rows = 200, .short_items = 64, .long_items = 64, .parts = parts});
  EXPECT_EQ(p.plan.most_parts, parts);
  EXPECT_THROW(planned(kShape, prompt,
                       {.rows = 200, .short_items = 64, .long_items = 64, .parts = parts - 1}),
               Error);
}

TEST(FlashInferPlan, PadsItemsToAPowerOfTwoTimesTheRows) {
  EXPECT_EQ(padded_items(24, 20), 24);
  EXPECT_EQ(padded_items(24, 25), 48);
  EXPECT_EQ(padded_items(24, 97), 192);
  EXPECT_EQ(padded_items(0, 0), 1);
}

// What planning says that must not go on.
std::string refusal(const FlashInferShape& shape, const std::vector<RowPlace>& places,
                    const FlashInferLimits& limits) {
  try {
    planned(shape, places, limits);
  } catch (const Error& error) {
    return error.what();
  }
  return "nothing";
}

TEST(FlashInferPlan, RefusesWhatItHasNoRoomFor) {
  auto shape = kShape;
  shape.group = 17;
  EXPECT_THAT(refusal(shape, {{0, 0}}, kLimits), HasSubstr("17 query heads"));
  shape.group = 0;
  EXPECT_THAT(refusal(shape, {{0, 0}}, kLimits), HasSubstr("0 query heads"));
  EXPECT_THAT(refusal(kShape, {{3, 0}}, kLimits), HasSubstr("sequence 3"));
  EXPECT_THAT(refusal(kShape, {{0, 3200}}, kLimits), HasSubstr("position 3200"));
  EXPECT_EQ(refusal(kShape, {{0, 3199}}, kLimits), "nothing");
  EXPECT_THAT(refusal(kShape, rows_of(0, 0, 257), kLimits), HasSubstr("257 rows"));
  EXPECT_THAT(
      refusal(kShape, {{0, 3199}}, {.rows = 1, .short_items = 3, .long_items = 3, .parts = 9}),
      HasSubstr("more than 3 items of short tiles"));
  EXPECT_THAT(
      refusal(kShape, rows_of(0, 0, 5), {.rows = 5, .short_items = 9, .long_items = 0, .parts = 9}),
      HasSubstr("more than 0 items of long tiles"));
  constexpr std::int32_t kChunks = (3200 + kChunk - 1) / kChunk;
  EXPECT_THAT(refusal(kShape, {{0, 3199}},
                      {.rows = 1, .short_items = kChunks, .long_items = 0, .parts = kChunks - 1}),
              HasSubstr("need " + std::to_string(kChunks) + " parts"));
  shape = kShape;
  shape.chunk = 96;
  EXPECT_THAT(refusal(shape, {{0, 0}}, kLimits), HasSubstr("96 positions"));
  shape = kShape;
  shape.stride = 1 << 27;
  EXPECT_THAT(refusal(shape, {{0, 0}}, kLimits), HasSubstr("2^31 positions"));
}

// The plan, the kernel as the reference understands it, and the own combination of parts.
class FlashInferPlanned : public testing::TestWithParam<std::int32_t> {
 protected:
  static constexpr std::int32_t kStride = 140;  // blocks of 16 positions: more than two chunks

  FlashInferPlanned() {
    model_.group = GetParam();
    model_.table.resize(2 * kStride);
    std::iota(model_.table.begin(), model_.table.end(), 0);
    std::shuffle(model_.table.begin(), model_.table.end(), std::mt19937(3));
    const std::size_t size = model_.table.size() * 2 * 16 * 4;
    model_.keys = random_floats(size, 1);
    model_.values = random_floats(size, 2);
  }

  std::vector<std::uint16_t> attended(const std::vector<RowPlace>& places,
                                      std::int64_t parts = 4096) {
    model_.queries.clear();
    const auto row_size = static_cast<std::size_t>(model_.query_heads() * model_.head_dim);
    for (const RowPlace place : places) {
      const auto query =
          random_floats(row_size, static_cast<unsigned>(place.sequence * 5000 + place.position));
      model_.queries.insert(model_.queries.end(), query.begin(), query.end());
    }
    const FlashInferShape shape{
        .group = model_.group, .block_size = 16, .stride = kStride, .sequences = 2};
    const auto rows = static_cast<std::int32_t>(places.size());
    const auto p = planned(shape, places,
                           {.rows = rows, .short_items = 512, .long_items = 512, .parts = parts});
    waves_ = p.plan.waves.size();
    EXPECT_LE(p.plan.most_parts, parts);
    const FlashInferReference kernel(model_, p.layout, p.buffer);
    std::vector<std::uint16_t> out;
    for (const FlashInferWave& wave : p.plan.waves) {
      EXPECT_EQ(wave.first_row * row_size, out.size()) << "waves leave rows out";
      const ReferenceParts made = kernel.run(wave);
      for (const int writes : made.writes) EXPECT_LE(writes, 1);
      const auto combined = combine(p, wave, made);
      out.insert(out.end(), combined.begin(), combined.end());
    }
    EXPECT_EQ(out.size(), places.size() * row_size);
    return out;
  }

  std::vector<std::uint16_t> combine(const Planned& p, const FlashInferWave& wave,
                                     const ReferenceParts& parts) const {
    DeviceMemory memory;
    const auto rows_from = [&](std::int64_t offset) {
      const auto all = p.ints(offset, wave.first_row + wave.rows);
      return std::vector<std::int32_t>(all.begin() + wave.first_row, all.end());
    };
    const std::int32_t heads = model_.query_heads();
    const FlashInferCombineArgs args{
        .values = memory.constant(parts.values, "values"),
        .weights = memory.constant(parts.weights, "weights"),
        .row_part = memory.constant(rows_from(p.layout.row_part), "row_part"),
        .row_chunks = memory.constant(rows_from(p.layout.row_chunks), "row_chunks"),
        .out = memory.blank<std::uint16_t>(
            static_cast<std::size_t>(wave.rows * heads * model_.head_dim), "out"),
        .rows = wave.rows,
        .query_heads = heads,
        .head_dim = model_.head_dim,
        .value_scale = 0.5f};
    run_blocks(memory, flashinfer_combine_grid(args),
               [&](FiberThread& t) { combine_flashinfer_parts(t, args); });
    return memory.values(args.out);
  }

  // Half of softmax(q k^T * scale) v, of all keys up to the row's position at once.
  std::vector<double> formula(RowPlace place, std::int32_t query_head) const {
    const auto dim = static_cast<std::size_t>(model_.head_dim);
    const auto query = random_floats(static_cast<std::size_t>(model_.query_heads()) * dim,
                                     static_cast<unsigned>(place.sequence * 5000 + place.position));
    std::vector<double> total(dim);
    double sum = 0;
    for (std::int32_t key = 0; key <= place.position; ++key) {
      const auto block =
          model_.table[static_cast<std::size_t>(place.sequence * kStride + key / 16)];
      const auto at =
          static_cast<std::size_t>((block * 2 + query_head / model_.group) * 16 + key % 16) * dim;
      double dot = 0;
      for (std::size_t d = 0; d < dim; ++d) {
        dot += double{query[static_cast<std::size_t>(query_head) * dim + d]} * model_.keys[at + d];
      }
      const double weight = std::exp(dot * model_.scale);
      sum += weight;
      for (std::size_t d = 0; d < dim; ++d) total[d] += weight * model_.values[at + d];
    }
    for (double& value : total) value *= 0.5 / sum;
    return total;
  }

  ReferenceModel model_;
  std::size_t waves_ = 0;
};

TEST_P(FlashInferPlanned, EqualsTheFormulaWhereDecodingAndPromptsMeet) {
  auto places =
      joined({{0, 0}, {0, 2 * kChunk}, {1, kChunk - 1}, {1, kChunk}}, rows_of(1, kChunk - 20, 50));
  places = joined(places, {{0, 2200}});
  const auto out = attended(places);
  const std::int32_t heads = model_.query_heads();
  for (std::size_t row = 0; row < places.size(); ++row) {
    for (std::int32_t head = 0; head < heads; ++head) {
      const auto expected = formula(places[row], head);
      for (std::size_t d = 0; d < 4; ++d) {
        const auto at =
            (row * static_cast<std::size_t>(heads) + static_cast<std::size_t>(head)) * 4;
        ASSERT_NEAR(bf16_to_float(out[at + d]), expected[d],
                    std::fabs(expected[d]) * 0x1.02p-8 + 1e-5)
            << "row " << row << ", head " << head << ", " << d;
      }
    }
  }
}

TEST_P(FlashInferPlanned, GivesTheSameBitsHoweverAPromptIsCutAndInWaves) {
  constexpr std::int32_t kFirst = kChunk - 40, kRows = 150;
  const auto prompt = rows_of(1, kFirst, kRows);
  const auto whole = attended(prompt);
  EXPECT_EQ(waves_, 1u);
  EXPECT_EQ(attended(prompt, 2 * kLongTile / GetParam()), whole);  // one tile at a time
  EXPECT_GT(waves_, 1u);
  for (const std::int32_t piece : {1, 7, 43}) {
    std::vector<std::uint16_t> pieces;
    for (std::int32_t row = 0; row < kRows; row += piece) {
      const auto out = attended(rows_of(1, kFirst + row, std::min(piece, kRows - row)));
      pieces.insert(pieces.end(), out.begin(), out.end());
    }
    EXPECT_EQ(pieces, whole) << piece;
  }
}

INSTANTIATE_TEST_SUITE_P(Groups, FlashInferPlanned, testing::Values(1, 3, 4, 8),
                         testing::PrintToStringParamName());

}  // namespace
}  // namespace lockstep::kernels::cuda

// The plan of FA3's kernel, by hand and by the kernel's own reading of it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/cuda/fa3_attention.h"
#include "tests/kernels/cuda/row_places.h"

namespace lockstep::kernels::cuda {
namespace {

using testing::Each;
using testing::ElementsAre;

std::vector<RowPlace> together(std::initializer_list<std::vector<RowPlace>> all) {
  std::vector<RowPlace> places;
  for (const auto& some : all) places.insert(places.end(), some.begin(), some.end());
  return places;
}

// A plan of blocks of 16 positions, with 40 blocks a sequence of three.
struct Planned {
  explicit Planned(const std::vector<RowPlace>& places, bool apart = false)
      : layout(count_fa3_tiles(places, apart)), bytes(static_cast<std::size_t>(layout.bytes)) {
    plan_fa3(places, apart, 16, 40, 3, layout, bytes);
  }
  std::vector<std::int32_t> ints(std::int64_t offset, std::int32_t more = 0) const {
    const auto* first = reinterpret_cast<const std::int32_t*>(bytes.data() + offset);
    return {first, first + layout.tiles + more};
  }
  Fa3Layout layout;
  std::vector<std::byte> bytes;
};

TEST(Fa3Plan, CutsRunsOfASequenceIntoTiles) {
  // 300 rows of a prompt from position 70 on, a row that decodes, and 128 of another prompt.
  const Planned plan(together({rows_of(2, 70, 300), rows_of(0, 9, 1), rows_of(1, 0, 128)}));
  EXPECT_THAT(plan.ints(plan.layout.first_row), ElementsAre(0, 128, 256, 300, 301));
  EXPECT_THAT(plan.ints(plan.layout.rows), ElementsAre(128, 128, 44, 1, 128));
  EXPECT_THAT(plan.ints(plan.layout.keys), ElementsAre(198, 326, 370, 10, 128));
  EXPECT_THAT(plan.ints(plan.layout.first_block), ElementsAre(80, 80, 80, 0, 40));
  EXPECT_THAT(plan.ints(plan.layout.ends, 1), ElementsAre(0, 1, 2, 3, 4, 5));
  EXPECT_THAT(plan.ints(plan.layout.zeros), Each(0));
}

// Two rows of one sequence that do not follow each other, as of padding after a chunk.
TEST(Fa3Plan, EndsATileWhereRowsDoNotFollowEachOther) {
  const Planned plan(together({rows_of(0, 5, 2), rows_of(0, 9, 1), rows_of(1, 10, 1)}));
  EXPECT_THAT(plan.ints(plan.layout.rows), ElementsAre(2, 1, 1));
  EXPECT_THAT(plan.ints(plan.layout.keys), ElementsAre(7, 10, 11));
}

TEST(Fa3Plan, OfRowsApartHasATileARow) {
  const Planned plan(together({rows_of(0, 5, 1), rows_of(2, 0, 3)}), true);
  EXPECT_THAT(plan.ints(plan.layout.first_row), ElementsAre(0, 1, 2, 3));
  EXPECT_THAT(plan.ints(plan.layout.rows), Each(1));
  EXPECT_THAT(plan.ints(plan.layout.keys), ElementsAre(6, 1, 2, 3));
}

TEST(Fa3Plan, RefusesRowsOutsideTheBlockTables) {
  for (const RowPlace place : {RowPlace{3, 0}, RowPlace{0, 640}, RowPlace{0, -1}}) {
    EXPECT_THROW(Planned({place}), Error) << place.sequence << ", " << place.position;
  }
  const Fa3Layout layout(2);
  std::vector<std::byte> bytes(static_cast<std::size_t>(layout.bytes));
  EXPECT_THROW(plan_fa3(rows_of(0, 0, 1), false, 16, 40, 3, layout, bytes), Error);
}

}  // namespace
}  // namespace lockstep::kernels::cuda

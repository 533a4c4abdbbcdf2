#include "coordinator/block_manager.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <set>

#include "base/error.h"

namespace lockstep::coordinator {
namespace {

TEST(BlockManager, RoundsTokensUpToBlocks) {
  const BlockManager blocks(4, 16);
  EXPECT_EQ(blocks.blocks_for(0), 0);
  EXPECT_EQ(blocks.blocks_for(1), 1);
  EXPECT_EQ(blocks.blocks_for(16), 1);
  EXPECT_EQ(blocks.blocks_for(17), 2);
}

TEST(BlockManager, ChangesNothingWhenTooFewAreFree) {
  BlockManager blocks(3, 16);
  std::vector<std::int32_t> table;
  ASSERT_TRUE(blocks.allocate(2, table));
  EXPECT_FALSE(blocks.allocate(2, table));
  EXPECT_EQ(table.size(), 2u);
  EXPECT_EQ(blocks.num_free(), 1);
}

TEST(BlockManager, RefusesToReleaseAFreeBlock) {
  BlockManager blocks(3, 16);
  std::vector<std::int32_t> table;
  ASSERT_TRUE(blocks.allocate(1, table));
  std::vector<std::int32_t> copy = table;
  blocks.release(table);
  EXPECT_THROW(blocks.release(copy), Error);
  std::vector<std::int32_t> beyond = {3};
  EXPECT_THROW(blocks.release(beyond), Error);
}

TEST(BlockManager, RefusesABlockSizeThatAttentionCannotWalk) {
  EXPECT_THROW(BlockManager(3, 24), Error);
  EXPECT_THROW(BlockManager(3, 0), Error);
  EXPECT_THROW(BlockManager(0, 16), Error);
}

TEST(BlockManager, NeverHandsOutABlockTwiceAndLosesNone) {
  BlockManager blocks(64, 16);
  std::mt19937 random(1);
  std::vector<std::vector<std::int32_t>> tables(8);
  for (int step = 0; step < 10000; ++step) {
    std::vector<std::int32_t>& table = tables[random() % tables.size()];
    if (random() % 3 == 0) {
      blocks.release(table);
    } else {
      blocks.allocate(static_cast<std::int32_t>(random() % 8), table);
    }
    std::set<std::int32_t> owned;
    std::size_t total = 0;
    for (const auto& t : tables) {
      owned.insert(t.begin(), t.end());
      total += t.size();
    }
    ASSERT_EQ(owned.size(), total);
    ASSERT_EQ(blocks.num_used(), static_cast<std::int32_t>(total));
    ASSERT_EQ(blocks.num_free(), 64 - blocks.num_used());
  }
}

}  // namespace
}  // namespace lockstep::coordinator

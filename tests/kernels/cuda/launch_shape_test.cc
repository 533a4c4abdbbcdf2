// How kernels are launched, and what is refused before: no GPU is needed.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/product_few.cuh"

namespace lockstep::kernels::cuda {
namespace {

ProductArgs args_of(TileFormat format, std::int32_t m, std::int32_t rows, std::int32_t leaves) {
  ProductArgs args{};
  args.weights = {.format = format, .tiles = {}, .scales = {}, .rows = rows, .groups = 1};
  args.m = m;
  args.plan.num_leaves = leaves;
  args.plan.num_lanes = 1;
  args.plan.num_segments = 1;
  args.plan.depth = std::bit_width(static_cast<std::uint32_t>(leaves - 1));
  return args;
}

// Shared memory holds all leaves' sums of few rows, and of many those that wait for others: many of
// them make blocks of fewer rows.
TEST(CudaProductShape, FitsIntoSharedMemory) {
  for (const auto format : {TileFormat::bf16, TileFormat::int8_group, TileFormat::int4_group}) {
    for (const std::int32_t m : {1, 16, 33, 64, 65, 1000}) {
      for (const std::int32_t leaves : {1, 3, 16, 56, 256, 1000}) {
        for (const std::int32_t rows : {100, 30000}) {
          ProductArgs args = args_of(format, m, rows, leaves);
          for (const bool warpgroups : {false, true}) {
            args.warpgroups = warpgroups;
            const ProductShape shape = product_shape(args);
            const Grid grid = product_grid(args, shape);
            EXPECT_LE(grid.shared_bytes, kMaxSharedBytes);
            EXPECT_LE(grid.threads, kProductWarps * kWarp);
            if (const auto* wide = std::get_if<WideRows>(&shape)) {
              EXPECT_TRUE(warpgroups);
              EXPECT_EQ(grid.x, divide_up(m, wide->rows) * divide_up(rows, 64 * wide->warpgroups));
            } else if (const auto* few = std::get_if<FewRows>(&shape)) {
              EXPECT_LE(few->rows, 16);
              EXPECT_EQ(grid.x, divide_up(m, few->rows) *
                                    divide_up(rows, few->tiles * rows_of_tile(format)));
            } else {
              const auto& many = std::get<ManyRows>(shape);
              EXPECT_GE(many.stage_groups, 1);
              EXPECT_EQ(grid.x, divide_up(m, many.row_warps * kWarpRows) *
                                    divide_up(rows, many.column_warps * kWarpColumns));
              EXPECT_EQ(grid.y, 1);
            }
          }
        }
      }
    }
  }
}

TEST(CudaProductShape, OfManyRowsHasBlocksForEveryMultiprocessor) {
  const auto expect = [](TileFormat format, std::int32_t m, std::int32_t rows,
                         const ManyRows& expected) {
    ProductArgs args = args_of(format, m, rows, 16);
    args.plan.depth = 0;
    EXPECT_EQ(std::get<ManyRows>(product_shape(args)), expected);
  };
  expect(TileFormat::bf16, 128, 28672, {2, 2, 2});
  expect(TileFormat::bf16, 128, 6144, {2, 2, 2});  // 192 blocks
  expect(TileFormat::bf16, 128, 4096, {2, 2, 7});  // 128
  expect(TileFormat::bf16, 65, 2048, {2, 1, 8});   // 64 would be too few
  expect(TileFormat::e4m3_channel, 128, 28672, {2, 4, 4});
}

TEST(CudaProductShape, OfWarpgroupsHasBlocksForEveryMultiprocessor) {
  const auto expect = [](TileFormat format, std::int32_t m, std::int32_t rows, std::int32_t depth,
                         const WideRows& expected, std::int32_t segments = 1) {
    ProductArgs args = args_of(format, m, rows, 16);
    args.plan.depth = depth;
    args.plan.num_segments = segments;
    args.warpgroups = true;
    EXPECT_EQ(std::get<WideRows>(product_shape(args)), expected);
  };
  expect(TileFormat::bf16, 128, 28672, 0, {128, 2, 4});
  expect(TileFormat::bf16, 64, 28672, 0, {64, 2, 4});
  expect(TileFormat::bf16, 64, 6144, 0, {64, 1, 4});   // 96 blocks
  expect(TileFormat::bf16, 128, 4096, 0, {64, 1, 4});  // 128 blocks
  expect(TileFormat::bf16, 128, 4096, 2, {64, 2, 4}, 2);  // the same, of two segments
  expect(TileFormat::bf16, 512, 4096, 3, {64, 2, 3});
  expect(TileFormat::int4_group, 512, 4096, 0, {64, 2, 4});
}

// As measured on an H200 (docs/gpu.md).
TEST(CudaProductShape, OfFewRowsHasBlocksOfEqualWork) {
  const auto tiles = [](TileFormat format, std::int32_t m, std::int32_t rows, std::int32_t leaves) {
    return std::get<FewRows>(product_shape(args_of(format, m, rows, leaves))).tiles;
  };
  EXPECT_EQ(tiles(TileFormat::bf16, 1, 28672, 16), 14);  // 256 blocks, two a multiprocessor
  EXPECT_EQ(tiles(TileFormat::bf16, 16, 6144, 16), 3);   // the same
  EXPECT_EQ(tiles(TileFormat::bf16, 32, 6144, 16), 6);   // the same, of 16 rows each
  EXPECT_EQ(tiles(TileFormat::bf16, 16, 4096, 56), 4);   // 128 blocks, one each
  EXPECT_EQ(tiles(TileFormat::bf16, 16, 28672, 16), 5);  // three times 239 blocks
  EXPECT_EQ(tiles(TileFormat::e4m3_channel, 16, 6144, 16), 2);
  EXPECT_EQ(tiles(TileFormat::int4_group, 16, 28672, 16), 1);
  EXPECT_EQ(tiles(TileFormat::bf16, 1, 100, 1), 8);  // a leaf for every warp
}

WeightsAhead ahead_of(TileFormat format, std::int32_t rows, std::int32_t groups,
                      std::int64_t most) {
  return weights_ahead(
      {.format = format, .tiles = {}, .scales = {}, .rows = rows, .groups = groups}, most);
}

TEST(CudaWeightsAhead, AreTheBeginningsOfEqualParts) {
  // 512 tile rows of 64 KiB: eighths of 8 KiB, of each 4.
  const WeightsAhead some = ahead_of(TileFormat::bf16, 4096, 128, 16 << 20);
  EXPECT_EQ(some.row_bytes, 64 << 10);
  EXPECT_EQ(some.part_bytes, 8 << 10);
  EXPECT_EQ(some.parts, 512 * 8);
  EXPECT_EQ(some.bytes, 4u << 10);
  EXPECT_EQ(ahead_of(TileFormat::bf16, 4096, 128, 1 << 30).bytes, 8u << 10);  // all of it
  const WeightsAhead odd = ahead_of(TileFormat::int4_group, 33, 3, 1 << 20);  // two, of 1,920 bytes
  EXPECT_EQ(odd.parts, 16);
  EXPECT_EQ(odd.bytes, 240u);
  EXPECT_EQ(ahead_of(TileFormat::bf16, 4096, 128, 0).parts, 0);
  EXPECT_EQ(ahead_of(TileFormat::bf16, 4096, 128, 65535).parts, 0);  // less than 16 bytes of each
  EXPECT_EQ(ahead_of(TileFormat::bf16, 0, 128, 1 << 20).parts, 0);
}

// A thread that only asks.
struct AskingThread {
  int lane() const { return lane_of; }
  int warp() const { return warp_of; }
  int block_x() const { return block; }
  int blocks_x() const { return blocks; }
  void prefetch(const std::byte* from, std::uint32_t) { asked->push_back(from); }

  int lane_of, warp_of, block, blocks;
  std::vector<const std::byte*>* asked;
};

TEST(CudaWeightsAhead, AreAskedForOnceByAllBlocksAlike) {
  for (const std::int32_t rows : {8, 4096, 28672}) {
    for (const int blocks : {1, 192, 256}) {
      const WeightsAhead ahead = ahead_of(TileFormat::bf16, rows, 128, 8 << 20);
      std::vector<const std::byte*> all;
      std::size_t least = ~std::size_t{0}, most = 0;
      for (int block = 0; block < blocks; ++block) {
        std::vector<const std::byte*> asked;
        for (int thread = 0; thread < kProductWarps * kWarp; ++thread) {
          AskingThread t{thread % kWarp, thread / kWarp, block, blocks, &asked};
          request_ahead(t, ahead);
        }
        least = std::min(least, asked.size());
        most = std::max(most, asked.size());
        all.insert(all.end(), asked.begin(), asked.end());
      }
      EXPECT_LE(most - least, 1u);
      std::ranges::sort(all);
      ASSERT_EQ(std::ssize(all), ahead.parts);
      for (std::size_t i = 0; i < all.size(); ++i) {
        EXPECT_EQ(all[i], ahead.tiles + static_cast<std::int64_t>(i) * ahead.part_bytes);
      }
    }
  }
}

TEST(CudaProductShape, RefusesMoreLeavesThanSharedMemoryHolds) {
  EXPECT_THROW(product_shape(args_of(TileFormat::bf16, 1, 100, 10000)), Error);
  ProductArgs deep = args_of(TileFormat::bf16, 100, 100, 16);
  deep.plan.depth = 100;
  EXPECT_THROW(product_shape(deep), Error);
}

TEST(CudaWeightTiles, RefusesSizesThatDoNotFit) {
  const std::vector<std::uint16_t> values(64);
  EXPECT_THROW(pack_bf16(values, 1, 33), Error);
  EXPECT_THROW(pack_bf16(values, 3, 32), Error);
  const std::vector<std::uint8_t> bytes(64);
  EXPECT_THROW(pack_channels(TileFormat::int8_channel, bytes, std::vector<float>(1), 2, 32), Error);
  EXPECT_THROW(pack_channels(TileFormat::bf16, bytes, std::vector<float>(2), 2, 32), Error);
}

TEST(CudaAttentionGrid, RefusesAHeadDimThatItsThreadsCannotShare) {
  for (const std::int32_t head_dim : {0, 80, 288}) {
    AttentionArgs args{};
    args.cache.head_dim = head_dim;
    EXPECT_THROW(attention_grid(args), Error) << head_dim;
  }
}

}  // namespace
}  // namespace lockstep::kernels::cuda

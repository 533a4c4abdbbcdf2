// How kernels are launched, and what is refused before: no GPU is needed.
#include <gtest/gtest.h>

#include <bit>

#include "base/error.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/product.h"

namespace lockstep::kernels::cuda {
namespace {

ProductArgs args_of(TileFormat format, std::int32_t m, std::int32_t rows, std::int32_t leaves) {
  ProductArgs args{};
  args.weights = {.format = format, .tiles = {}, .scales = {}, .rows = rows, .groups = 1};
  args.m = m;
  args.plan.num_leaves = leaves;
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
          const ProductArgs args = args_of(format, m, rows, leaves);
          const ProductShape shape = product_shape(args);
          const Grid grid = product_grid(args, shape);
          EXPECT_LE(grid.shared_bytes, kMaxSharedBytes);
          EXPECT_LE(grid.threads, kProductWarps * kWarp);
          if (const auto* few = std::get_if<FewRows>(&shape)) {
            EXPECT_LE(few->rows, 16);
            EXPECT_GE(grid.y * few->rows, m);
            EXPECT_GE(grid.x * few->tiles * rows_of_tile(format), rows);
          } else {
            const auto& many = std::get<ManyRows>(shape);
            EXPECT_GE(many.stage_groups, 1);
            EXPECT_GE(grid.y * many.row_warps * kWarpRows, m);
            EXPECT_GE(grid.x * many.column_warps * kWarpColumns, rows);
          }
        }
      }
    }
  }
}

TEST(CudaProductShape, OfManyRowsHasBlocksForEveryMultiprocessor) {
  const auto many = [](std::int32_t m, std::int32_t rows) {
    return std::get<ManyRows>(product_shape(args_of(TileFormat::bf16, m, rows, 16)));
  };
  EXPECT_EQ(many(128, 28672).column_warps, 2);
  EXPECT_EQ(many(128, 4096).column_warps, 1);
  EXPECT_EQ(many(2048, 4096).column_warps, 2);
  EXPECT_EQ(many(128, 28672).row_warps, 4);
  EXPECT_EQ(many(40, 28672).row_warps, 2);
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

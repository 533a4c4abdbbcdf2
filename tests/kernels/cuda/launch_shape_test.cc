// How kernels are launched, and what is refused before: no GPU is needed.
#include <gtest/gtest.h>

#include "base/error.h"
#include "kernels/cuda/attention.h"
#include "kernels/cuda/product.h"

namespace lockstep::kernels::cuda {
namespace {

// Shared memory holds all leaves' sums: many of them make blocks of fewer rows.
TEST(CudaProductShape, FitsIntoSharedMemory) {
  for (const auto format : {TileFormat::bf16, TileFormat::int4_group}) {
    for (const std::int32_t m : {1, 16, 33, 1000}) {
      for (const std::int32_t leaves : {1, 3, 16, 256, 1000}) {
        ProductArgs args{};
        args.weights = {.format = format, .tiles = {}, .scales = {}, .rows = 100, .groups = 1};
        args.m = m;
        args.plan.num_leaves = leaves;
        const ProductShape shape = product_shape(args);
        const Grid grid = product_grid(args, shape);
        EXPECT_LE(grid.shared_bytes, kMaxSharedBytes);
        EXPECT_LE(shape.rows, 16 * shape.row_tiles);
        EXPECT_GE(grid.y * shape.rows, m);
        EXPECT_GE(grid.x * shape.tiles * rows_of_tile(format), 100);
      }
    }
  }
}

TEST(CudaProductShape, RefusesMoreLeavesThanSharedMemoryHolds) {
  ProductArgs args{};
  args.m = 1;
  args.plan.num_leaves = 10000;
  EXPECT_THROW(product_shape(args), Error);
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

#include "kernels/cuda/product.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace lockstep::kernels::cuda {
namespace {

// Blocks that keep all of a large GPU busy, four times over: beyond, they grow.
constexpr std::int64_t kManyBlocks = 4 * 132;
// Shared memory that leaves room for two blocks.
constexpr std::int64_t kHalfOfShared = kMaxSharedBytes / 2 - (1 << 10);

// Bytes of all leaves' sums of one row of x over one tile row of the weights.
std::int64_t leaf_bytes(const ProductArgs& args) {
  return std::int64_t{sizeof(float)} * args.plan.num_leaves * rows_of_tile(args.weights.format);
}

}  // namespace

ProductShape product_shape(const ProductArgs& args) {
  const std::int64_t fixed = ProductMemory(args).sums();
  const std::int64_t most_rows = (kMaxSharedBytes - fixed) / leaf_bytes(args);
  if (most_rows < 1) {
    throw Error("a product's sum over K has " + std::to_string(args.plan.num_leaves) +
                " leaves, more than shared memory holds");
  }
  const std::int32_t row_tiles = args.m <= 16 ? 1 : args.m <= 32 ? 2 : 4;
  ProductShape shape{row_tiles, 0, 0};
  shape.rows =
      static_cast<std::int32_t>(std::min<std::int64_t>({args.m, 16 * row_tiles, most_rows}));
  shape.row_tiles = shape.rows <= 16 ? 1 : shape.rows <= 32 ? 2 : 4;
  // Enough tile rows that every warp has a leaf, and more where there are many.
  const std::int64_t tile_rows = divide_up(args.weights.rows, rows_of_tile(args.weights.format));
  const std::int64_t wanted =
      std::max<std::int64_t>(kProductWarps / args.plan.num_leaves, tile_rows / kManyBlocks);
  const std::int64_t room = (kHalfOfShared - fixed) / (leaf_bytes(args) * shape.rows);
  shape.tiles = static_cast<std::int32_t>(std::max<std::int64_t>(std::min(wanted, room), 1));
  return shape;
}

Grid product_grid(const ProductArgs& args, const ProductShape& shape) {
  if (args.m == 0) return {.x = 0};
  const std::int64_t tile_rows = divide_up(args.weights.rows, rows_of_tile(args.weights.format));
  return {.x = divide_up(tile_rows, shape.tiles),
          .y = divide_up(args.m, shape.rows),
          .threads = kProductWarps * kWarp,
          .shared_bytes = ProductMemory(args).sums() + leaf_bytes(args) * shape.rows * shape.tiles};
}

}  // namespace lockstep::kernels::cuda

#include "kernels/cuda/product.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace lockstep::kernels::cuda {
namespace {

// Of a large GPU.
constexpr std::int64_t kMultiprocessors = 132;
// More rows than this are many. A guess: nothing of it has been measured.
constexpr std::int32_t kFewRows = 32;
constexpr std::int32_t kMostRowWarps = 4;  // below each other

// Where a block alone may have so much shared memory, what each of two may have.
constexpr std::int64_t half_of(std::int64_t shared_bytes) { return shared_bytes / 2 - (1 << 10); }

std::int64_t tile_rows(const ProductArgs& args) {
  return divide_up(args.weights.rows, rows_of_tile(args.weights.format));
}

// Bytes of all leaves' sums of one row of x over one tile row of the weights.
std::int64_t leaf_bytes(const ProductArgs& args) {
  return std::int64_t{sizeof(float)} * args.plan.num_leaves * rows_of_tile(args.weights.format);
}

FewRows few_rows(const ProductArgs& args, std::int64_t shared_bytes) {
  const std::int64_t fixed = FewRowsMemory(args).sums();
  const std::int64_t most_rows = (shared_bytes - fixed) / leaf_bytes(args);
  if (most_rows < 1) {
    throw Error("a product's sum over K has " + std::to_string(args.plan.num_leaves) +
                " leaves, more than shared memory holds");
  }
  const auto rows = static_cast<std::int32_t>(std::min<std::int64_t>({args.m, 16, most_rows}));
  // x is read again for every block, and more than eight rows of it are more than W where a block
  // has but one tile row: of a small matrix, each multiprocessor then has one block.
  const bool alone = rows > 8 && tile_rows(args) < 8 * kMultiprocessors;
  const std::int64_t resident = (alone ? 1 : 2) * kMultiprocessors;
  const std::int64_t room =
      ((alone ? shared_bytes : half_of(shared_bytes)) - fixed) / (leaf_bytes(args) * rows);
  // A leaf for every warp, and a block for every place; where tiles have no room for that, blocks
  // of the same size for all places, several times over.
  const std::int64_t wanted = std::max<std::int64_t>(
      {1, kProductWarps / args.plan.num_leaves, divide_up(tile_rows(args), resident)});
  const std::int64_t most = std::max<std::int64_t>(room, 1);
  if (wanted <= most) return {rows, static_cast<std::int32_t>(wanted)};
  const std::int64_t waves = divide_up(divide_up(tile_rows(args), most), resident);
  return {rows, static_cast<std::int32_t>(divide_up(tile_rows(args), waves * resident))};
}

// As many groups of columns in a chunk as `room` allows; 0: not one.
std::int32_t groups_in(std::int64_t room, const ProductArgs& args, const ManyRows& shape) {
  const ManyRowsMemory memory(args, shape);
  const std::int64_t left = room - memory.depth * memory.level_bytes();
  return static_cast<std::int32_t>(
      std::clamp<std::int64_t>(left / (kManyStages * memory.group_bytes), 0, kLeafGroups));
}

// As many rows of x as there are, up to 128, and no more than have room for their sums.
ManyRows many_rows(const ProductArgs& args, std::int64_t shared_bytes) {
  const std::int64_t row_blocks = divide_up(args.m, kMostRowWarps * kWarpRows);
  const std::int64_t row_warps = divide_up(divide_up(args.m, row_blocks), kWarpRows);
  ManyRows shape{static_cast<std::int32_t>(row_warps), 2, 1};
  const auto halve = [&] {
    (shape.row_warps > shape.column_warps ? shape.row_warps : shape.column_warps) /= 2;
  };
  const auto blocks = [&](const ManyRows& of) {
    const Grid grid = product_grid(args, of);
    return grid.x * grid.y;
  };
  while (groups_in(shared_bytes, args, shape) == 0) {
    if (shape.row_warps * shape.column_warps == 1) {
      throw Error("a product's sum over K has " + std::to_string(args.plan.depth) +
                  " sums that wait for others, more than shared memory holds");
    }
    halve();
  }
  // Wider, for fewer readings of x, where that leaves a block for every multiprocessor; smaller
  // where half of them would have none.
  const ManyRows wider{shape.row_warps, 4, 1};
  if (shape.row_warps <= 2 && blocks(wider) > kMultiprocessors &&
      groups_in(shared_bytes, args, wider) > 0) {
    shape = wider;
  }
  while (2 * blocks(shape) <= kMultiprocessors && shape.row_warps * shape.column_warps > 1) halve();
  // Two small blocks a multiprocessor hide each other's waiting.
  const std::int32_t of_half = groups_in(half_of(shared_bytes), args, shape);
  const bool halved = of_half >= 2 && shape.row_warps * shape.column_warps < kProductWarps &&
                      blocks(shape) > kMultiprocessors;
  shape.stage_groups = halved ? of_half : groups_in(shared_bytes, args, shape);
  return shape;
}

}  // namespace

ProductShape product_shape(const ProductArgs& args, std::int64_t shared_bytes) {
  if (args.m > kFewRows) return many_rows(args, shared_bytes);
  return few_rows(args, shared_bytes);
}

Grid product_grid(const ProductArgs& args, const ProductShape& shape) {
  if (args.m == 0) return {.x = 0};
  if (const auto* few = std::get_if<FewRows>(&shape)) {
    return {.x = divide_up(tile_rows(args), few->tiles) * divide_up(args.m, few->rows),
            .threads = kProductWarps * kWarp,
            .shared_bytes = FewRowsMemory(args).sums() + leaf_bytes(args) * few->rows * few->tiles};
  }
  const auto& many = std::get<ManyRows>(shape);
  return {.x = divide_up(args.weights.rows, many.column_warps * kWarpColumns) *
               divide_up(args.m, many.row_warps * kWarpRows),
          .y = args.plan.num_segments,
          .threads = many.row_warps * many.column_warps * kWarp,
          .shared_bytes = ManyRowsMemory(args, many).bytes()};
}

}  // namespace lockstep::kernels::cuda

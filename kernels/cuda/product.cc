#include "kernels/cuda/product.h"

#include <algorithm>
#include <optional>
#include <string>

#include "base/error.h"

namespace lockstep::kernels::cuda {
namespace {

// Of a large GPU.
constexpr std::int64_t kMultiprocessors = 132;
// More rows than this are many (docs/gpu.md: measured on an H200); by warpgroups, than the other.
constexpr std::int32_t kFewRows = 64, kFewBesideWarpgroups = 32;

// Where a block alone may have so much shared memory, what each of two may have.
constexpr std::int64_t half_of(std::int64_t shared_bytes) { return shared_bytes / 2 - (1 << 10); }

std::int64_t tile_rows(const ProductArgs& args) {
  return divide_up(args.weights.rows, rows_of_tile(args.weights.format));
}

// Tile rows that a block has together: a whole turn of gate and up.
std::int64_t tiles_together(const ProductArgs& args) {
  return args.activated == nullptr ? 1 : divide_up(2 * kTurn, rows_of_tile(args.weights.format));
}

// Bytes of all leaves' sums of one row of x over one tile row of the weights.
std::int64_t leaf_bytes(const ProductArgs& args) {
  return std::int64_t{sizeof(float)} * args.plan.num_leaves * rows_of_tile(args.weights.format);
}

FewRows few_rows(const ProductArgs& args, std::int64_t shared_bytes) {
  const std::int64_t fixed = FewRowsMemory(args).sums();
  // Counted in so many tile rows:
  const std::int64_t together = tiles_together(args);
  const std::int64_t row_bytes = together * leaf_bytes(args);
  const std::int64_t units = divide_up(tile_rows(args), together);
  const std::int64_t most_rows = (shared_bytes - fixed) / row_bytes;
  if (most_rows < 1) {
    throw Error("a product's sum over K has " + std::to_string(args.plan.num_leaves) +
                " leaves, more than shared memory holds");
  }
  const auto rows = static_cast<std::int32_t>(std::min<std::int64_t>({args.m, 16, most_rows}));
  const std::int64_t row_blocks = divide_up(args.m, rows);
  const auto room = [&](std::int64_t bytes) { return (bytes - fixed) / (row_bytes * rows); };
  // A leaf for every warp, and a block for every place.
  const auto wanted = [&](std::int64_t places) {
    return std::max<std::int64_t>({1, kProductWarps / args.plan.num_leaves / together,
                                   divide_up(units * row_blocks, places)});
  };
  const auto shape = [&](std::int64_t of_block) {
    return FewRows{rows, static_cast<std::int32_t>(of_block * together)};
  };
  const std::int64_t two = 2 * kMultiprocessors, room_of_two = room(half_of(shared_bytes));
  if (wanted(two) <= room_of_two) return shape(wanted(two));
  // x is read again for every block, and more than eight rows of it are more than W where a block
  // has but one tile row: rather one block a multiprocessor, if that gives them all of their own.
  const std::int64_t room_of_one = room(shared_bytes);
  if (rows > 8 && wanted(kMultiprocessors) <= room_of_one) return shape(wanted(kMultiprocessors));
  // Blocks of the same size for all places, several times over.
  const std::int64_t most = rows > 8 && room_of_two < 1 ? room_of_one : room_of_two;
  const std::int64_t all = units * row_blocks;
  const std::int64_t waves = divide_up(divide_up(all, std::max<std::int64_t>(most, 1)), two);
  return shape(divide_up(all, waves * two));
}

// As many groups of columns in a chunk as `room` allows; 0: not one.
std::int32_t groups_in(std::int64_t room, const ProductArgs& args, const ManyRows& shape) {
  const ManyRowsMemory memory(args, shape);
  const std::int64_t left = room - memory.depth * memory.level_bytes();
  return static_cast<std::int32_t>(
      std::clamp<std::int64_t>(left / (kManyStages * memory.group_bytes), 0, kLeafGroups));
}

// Blocks of 64 rows of x by 64 of W, three a multiprocessor, or by twice as many where W has few
// bytes; smaller where half of the multiprocessors would have none.
ManyRows many_rows(const ProductArgs& args, std::int64_t shared_bytes) {
  const bool bf16 = args.weights.format == TileFormat::bf16;
  const auto row_warps = std::min<std::int64_t>(divide_up(args.m, kWarpRows), 2);
  ManyRows shape{static_cast<std::int32_t>(row_warps), bf16 ? 2 : 4, 1};
  const auto halve = [&] {
    (shape.row_warps > shape.column_warps ? shape.row_warps : shape.column_warps) /= 2;
  };
  const auto blocks = [&] {
    const Grid grid = product_grid(args, shape);
    return grid.x * grid.y;
  };
  while (groups_in(shared_bytes, args, shape) == 0) {
    if (shape.row_warps * shape.column_warps == 1) {
      throw Error("a product's sum over K has " + std::to_string(args.plan.depth) +
                  " sums that wait for others, more than shared memory holds");
    }
    halve();
  }
  while (2 * blocks() <= kMultiprocessors && shape.row_warps * shape.column_warps > 1) halve();
  shape.stage_groups = groups_in(shared_bytes, args, shape);
  if (blocks() > kMultiprocessors) shape.stage_groups = std::min(shape.stage_groups, bf16 ? 2 : 4);
  return shape;
}

// As many rows and warpgroups as leave a block for nearly every multiprocessor, and as many stages
// as there is room for. Nothing if not even two fit.
std::optional<WideRows> wide_rows(const ProductArgs& args, std::int64_t shared_bytes) {
  // Registers hold the sums of 128 rows only if there are no groups with scales of their own, and
  // shared memory those that wait only if there are none.
  const bool scaled_groups = args.weights.format == TileFormat::int8_group ||
                             args.weights.format == TileFormat::e4m3_block ||
                             args.weights.format == TileFormat::int4_group;
  const auto suits = [&](const WideRows& shape) {
    const Grid grid = product_grid(args, shape);
    return grid.shared_bytes <= shared_bytes && 12 * grid.x * grid.y >= 11 * kMultiprocessors;
  };
  WideRows shape{64, 1, 2};
  if (args.m > 64 && !scaled_groups && args.plan.depth == 0 && suits({128, 2, 2})) {
    shape = {128, 2, 2};
  } else if (suits({64, 2, 2})) {
    shape = {64, 2, 2};
  }
  const auto fits = [&] { return WideRowsMemory(args, shape).bytes() <= shared_bytes; };
  if (!fits()) return std::nullopt;
  do {
    ++shape.stages;
  } while (shape.stages <= kMostWideStages && fits());
  --shape.stages;
  return shape;
}

}  // namespace

WeightsAhead weights_ahead(const WeightTiles& weights, std::int64_t most) {
  const std::int64_t row_bytes = bytes_of_tile_row(weights);
  const std::int64_t part_bytes = row_bytes / kProductWarps / 16 * 16;
  const std::int64_t parts = weights.rows == 0 || part_bytes == 0
                                 ? 0
                                 : bytes_of_tiles(weights) / row_bytes * kProductWarps;
  const std::int64_t bytes = parts == 0 ? 0 : std::min(part_bytes, most / parts / 16 * 16);
  if (bytes == 0) return {};
  return {.tiles = weights.tiles,
          .row_bytes = row_bytes,
          .part_bytes = part_bytes,
          .bytes = static_cast<std::uint32_t>(bytes),
          .parts = static_cast<std::int32_t>(parts)};
}

ProductShape product_shape(const ProductArgs& args, std::int64_t shared_bytes) {
  if (args.warpgroups && args.m > kFewBesideWarpgroups) {
    if (const auto wide = wide_rows(args, shared_bytes)) return *wide;
  }
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
  if (const auto* wide = std::get_if<WideRows>(&shape)) {
    return {.x = divide_up(args.weights.rows, wide->warpgroups * kWarpgroupColumns) *
                 divide_up(args.m, wide->rows),
            .y = args.plan.num_segments,
            .threads = wide->warpgroups * 4 * kWarp,
            .shared_bytes = WideRowsMemory(args, *wide).bytes()};
  }
  const auto& many = std::get<ManyRows>(shape);
  return {.x = divide_up(args.weights.rows, many.column_warps * kWarpColumns) *
               divide_up(args.m, many.row_warps * kWarpRows),
          .y = args.plan.num_segments,
          .threads = many.row_warps * many.column_warps * kWarp,
          .shared_bytes = ManyRowsMemory(args, many).bytes()};
}

}  // namespace lockstep::kernels::cuda

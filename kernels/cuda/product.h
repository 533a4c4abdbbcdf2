// Products x * W^T of few rows or many, in bf16 with sums in f32, on the warps' matrix units.
//
// The sum over K has the order of a SumPlan; inside a leaf it goes from group to group of 32
// columns. Neither depends on the number of rows, on the other rows, or on the grid. Made for
// memory bandwidth at up to 16 rows; beyond, each 64 rows read the weights once.
#pragma once

#include <cstdint>

#include "kernels/cuda/grid.h"
#include "kernels/cuda/sum_plan.h"
#include "kernels/cuda/weight_tiles.h"

namespace lockstep::kernels::cuda {

struct ProductArgs {
  WeightTiles weights;
  const std::uint16_t* x;  // bf16 [m, 32 * weights.groups], rows x_stride apart
  std::int64_t x_stride;   // a multiple of 8
  std::int32_t m;
  SumPlan plan;  // its leaves are all groups of the weights
  // Element (segment, row, n) goes to segment * segment_stride + row * row_stride + n, n below
  // weights.rows.
  float* out;
  std::int64_t row_stride;
  std::int64_t segment_stride;
};

// How the work is cut: no bit depends on it.
struct ProductShape {
  std::int32_t row_tiles;  // of 16 rows of x, side by side: 1, 2 or 4
  std::int32_t rows;       // of x in a block: at most 16 * row_tiles
  std::int32_t tiles;      // tile rows of the weights in a block
};

inline constexpr std::int32_t kProductWarps = 8;  // of a block
inline constexpr std::int32_t kStages = 2;        // leaves of a warp that are under way

// The shared memory of a block, in bytes from its start: the tiles that are under way, the plan's
// tree, and the sums of the leaves [tiles, leaves, rows, rows of a tile].
struct ProductMemory {
  std::int32_t tile_bytes, num_leaves, num_levels, num_segments;

  constexpr explicit ProductMemory(const ProductArgs& args)
      : tile_bytes(bytes_of_tile(args.weights.format)),
        num_leaves(args.plan.num_leaves),
        num_levels(args.plan.num_levels),
        num_segments(args.plan.num_segments) {}

  constexpr std::int64_t additions() const {
    return std::int64_t{kProductWarps} * kStages * kLeafGroups * tile_bytes;
  }
  constexpr std::int64_t level_ends() const { return additions() + num_leaves * 8; }
  constexpr std::int64_t segments() const { return level_ends() + num_levels * 4; }
  constexpr std::int64_t sums() const { return divide_up(segments() + num_segments * 4, 16) * 16; }
};

// Throws Error, naming the limit, if the sums of one row of x are more than shared memory holds.
ProductShape product_shape(const ProductArgs& args);
Grid product_grid(const ProductArgs& args, const ProductShape& shape);

void launch_product(const ProductArgs& args, StreamHandle stream);
// The same, cut as `shape` says.
void launch_product(const ProductArgs& args, const ProductShape& shape, StreamHandle stream);

}  // namespace lockstep::kernels::cuda

// Products x * W^T of few rows or many, in bf16 with sums in f32, on the warps' matrix units.
//
// The sum over K has the order of a SumPlan; inside a leaf it goes from group to group of 32
// columns. Neither depends on the number of rows, on the other rows, or on the grid. A few rows go
// by a kernel made for memory bandwidth, whose warps share the columns (product_few.cuh); more by
// one made for reuse: on Hopper, on request, by warpgroups (product_wide.cuh), elsewhere by warps
// that share rows and weights (product_many.cuh).
#pragma once

#include <cstdint>
#include <variant>

#include "kernels/cuda/grid.h"
#include "kernels/cuda/sum_plan.h"
#include "kernels/cuda/weight_tiles.h"

namespace lockstep::kernels::cuda {

// What of a matrix is asked for before its product: the beginnings of equal parts of its tile rows.
struct WeightsAhead {
  const std::byte* tiles = nullptr;
  std::int64_t row_bytes = 0;   // of a tile row
  std::int64_t part_bytes = 0;  // of a part, kProductWarps of them a tile row; multiples of 16
  std::uint32_t bytes = 0;      // at the beginning of each; a multiple of 16
  std::int32_t parts = 0;       // of the whole matrix; 0: nothing is asked for
};

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
  // Where it is not null, in place of `out`: bf16 [m, weights.rows / 2], what SwiGLU (swiglu.h)
  // makes of the sums. The weights' rows are gate's and up's by turns, kTurn each, and the plan has
  // one segment.
  std::uint16_t* activated = nullptr;
  // Asked for when this product's own have been, where a few rows are multiplied: the device's
  // memory is not idle until the next product begins.
  WeightsAhead ahead = {};
  // Many rows go by warpgroups. REQUIRES: Gpu::has_warpgroups().
  bool warpgroups = false;
};

// How the work is cut: no bit depends on it.
struct FewRows {
  std::int32_t rows;   // of x in a block: at most 16
  std::int32_t tiles;  // tile rows of the weights in a block: whole turns where it activates
  bool operator==(const FewRows&) const = default;
};
struct ManyRows {
  std::int32_t row_warps;     // of a block below each other, with kWarpRows rows of x each,
  std::int32_t column_warps;  // and beside each other, with kWarpColumns rows of W each
  std::int32_t stage_groups;  // groups of columns that are on their way together
  bool operator==(const ManyRows&) const = default;
};
struct WideRows {
  std::int32_t rows;        // of x in a block: 64, or 128
  std::int32_t warpgroups;  // of a block, with 64 rows of W each: 1, or 2
  std::int32_t stages;      // chunks of W that are on their way: 2 to 4
  bool operator==(const WideRows&) const = default;
};
using ProductShape = std::variant<FewRows, ManyRows, WideRows>;

inline constexpr std::int32_t kTurn = 8;          // rows of W: gate's, then as many of up's
inline constexpr std::int32_t kProductWarps = 8;  // of a block of few rows; of many, at most
inline constexpr std::int32_t kStages = 2;        // leaves of a warp that are under way
inline constexpr std::int32_t kManyStages = 4;    // chunks of a block that are
inline constexpr std::int32_t kWarpRows = 32, kWarpColumns = 32;
inline constexpr std::int32_t kWideGroups = 4;         // of a leaf in a chunk, at most
inline constexpr std::int32_t kWarpgroupColumns = 64;  // rows of W
inline constexpr std::int32_t kMostWideStages = 4;

// The shared memory of a block of few rows, in bytes from its start: the tiles that are under way,
// the plan's tree, and the sums of the leaves [tiles, leaves, rows, rows of a tile].
struct FewRowsMemory {
  std::int32_t tile_bytes, num_lanes, num_levels, num_segments;

  constexpr explicit FewRowsMemory(const ProductArgs& args)
      : tile_bytes(bytes_of_tile(args.weights.format)),
        num_lanes(args.plan.num_lanes),
        num_levels(args.plan.num_levels),
        num_segments(args.plan.num_segments) {}

  constexpr std::int64_t additions() const {
    return std::int64_t{kProductWarps} * kStages * kLeafGroups * tile_bytes;
  }
  constexpr std::int64_t lanes() const { return additions() + num_lanes * 8; }
  constexpr std::int64_t level_ends() const { return lanes() + (num_lanes + 1) * 4; }
  constexpr std::int64_t segments() const { return level_ends() + num_levels * 4; }
  constexpr std::int64_t sums() const { return divide_up(segments() + num_segments * 4, 16) * 16; }
};

// The same of a block of many: the chunks that are under way, and the sums that wait for others
// [depth, a warp's sums of all warps].
struct ManyRowsMemory {
  std::int64_t group_bytes;  // of a chunk's group: tiles of W and rows of x
  std::int32_t stage_groups, warps, depth;

  constexpr ManyRowsMemory(const ProductArgs& args, const ManyRows& shape)
      : group_bytes(std::int64_t{shape.column_warps} * kWarpColumns /
                        rows_of_tile(args.weights.format) * bytes_of_tile(args.weights.format) +
                    std::int64_t{shape.row_warps} * kWarpRows * 64),
        stage_groups(shape.stage_groups),
        warps(shape.row_warps * shape.column_warps),
        depth(args.plan.depth) {}

  constexpr std::int64_t stage_bytes() const { return group_bytes * stage_groups; }
  constexpr std::int64_t sums() const { return kManyStages * stage_bytes(); }
  constexpr std::int64_t level_bytes() const {
    return std::int64_t{warps} * kWarpRows * kWarpColumns * 4;
  }
  constexpr std::int64_t bytes() const { return sums() + depth * level_bytes(); }
};

// The same of a block of warpgroups: two chunks of x, the chunks of W, and the sums that wait.
struct WideRowsMemory {
  std::int64_t x_bytes, stage_bytes;  // of a chunk
  std::int32_t stages, rows, warpgroups, depth;

  constexpr WideRowsMemory(const ProductArgs& args, const WideRows& shape)
      : x_bytes(std::int64_t{kWideGroups} * 64 * shape.rows),
        stage_bytes(std::int64_t{kWideGroups} * shape.warpgroups * kWarpgroupColumns /
                    rows_of_tile(args.weights.format) * bytes_of_tile(args.weights.format)),
        stages(shape.stages),
        rows(shape.rows),
        warpgroups(shape.warpgroups),
        depth(args.plan.depth) {}

  constexpr std::int64_t weights() const { return 2 * x_bytes; }
  constexpr std::int64_t sums() const { return weights() + stages * stage_bytes; }
  constexpr std::int64_t level_bytes() const {
    return std::int64_t{warpgroups} * kWarpgroupColumns * rows * 4;
  }
  constexpr std::int64_t bytes() const { return sums() + depth * level_bytes(); }
};

// Up to `most` bytes of a matrix. The warps of its product share out the leaves of each tile row:
// they begin with the beginnings of its parts.
WeightsAhead weights_ahead(const WeightTiles& weights, std::int64_t most);

// `shared_bytes`: of shared memory, what a block may ask for. Throws Error, naming the limit, if
// the sums of one row of x, or of many those that wait for others, are more than it holds.
ProductShape product_shape(const ProductArgs& args, std::int64_t shared_bytes = kMaxSharedBytes);
Grid product_grid(const ProductArgs& args, const ProductShape& shape);

// Whether this build has the kernel of warpgroups, which runs on compute capability 9.0 alone.
bool warpgroups_built_in();

void launch_product(const ProductArgs& args, StreamHandle stream);
// The same, cut as `shape` says.
void launch_product(const ProductArgs& args, const ProductShape& shape, StreamHandle stream);

}  // namespace lockstep::kernels::cuda

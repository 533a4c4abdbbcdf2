// Products x * W^T of many rows: device code.
//
// A warp has 32 rows of x by 32 of W, a block some warps below and beside each other. Chunks of
// columns of both pass through shared memory, and all warps go through them together, from the
// first group of a segment to its last. A leaf's sums are in registers; where it ends they meet
// those that wait for them, the newest of which are in registers, too, and the others in shared
// memory. The products and the additions are those of product_few.cuh, and so are the bits.
#pragma once

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/product_group.cuh"
#include "kernels/cuda/sum_stack.cuh"
#include "kernels/cuda/swiglu.cuh"
#include "kernels/cuda/tile_formats.cuh"

namespace lockstep::kernels::cuda {

// A warp's sums.
template <class Tile>
struct SquareSums {
  static constexpr int kTileRows = kWarpColumns / rows_of_tile(Tile::kFormat);
  static constexpr int kRowTiles = kWarpRows / 16;
  static constexpr int kPacks = kTileRows * kRowTiles * Tile::kColumnTiles;
  WarpSums<kRowTiles, Tile::kColumnTiles> at[kTileRows];

  LOCKSTEP_DEVICE Pack<float, 4>& pack(int i) {
    const int row_tile = i / Tile::kColumnTiles;
    return at[row_tile / kRowTiles].at[row_tile % kRowTiles][i % Tile::kColumnTiles];
  }
  // Of row tile r by column tile c of all of the warp's.
  LOCKSTEP_DEVICE const Pack<float, 4>& pack(int r, int c) const {
    return at[c / Tile::kColumnTiles].at[r][c % Tile::kColumnTiles];
  }
  // body(tile row, row tile, column tile) for all packs.
  template <class Body>
  LOCKSTEP_DEVICE static void for_each(const Body& body) {
#pragma unroll
    for (int i = 0; i < kTileRows; ++i) {
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
        for (int c = 0; c < Tile::kColumnTiles; ++c) body(i, r, c);
      }
    }
  }
};
static_assert(kWarpRows * kWarpColumns == kWarp * 4 * SquareSums<Bf16Tile>::kPacks);

// The chunks of a block on their way through shared memory, each in one of kManyStages stages:
// tiles of its tile rows, then 64 bytes of each of its rows of x for a group, group after group.
template <class Tile, class Thread>
class ChunkStages {
 public:
  LOCKSTEP_DEVICE ChunkStages(Thread& t, const ProductArgs& args, const ManyRows& shape,
                              const ManyRowsMemory& memory)
      : t_(t),
        args_(args),
        memory_(t.template shared<std::byte>(0, memory.sums())),
        stage_bytes_(memory.stage_bytes()),
        groups_(shape.stage_groups),
        tile_rows_(shape.column_warps * SquareSums<Tile>::kTileRows),
        rows_(shape.row_warps * kWarpRows),
        row_blocks_(static_cast<int>(divide_up(args.m, rows_))),
        first_tile_(std::int64_t{t.block_x() / row_blocks_} * tile_rows_),
        first_row_(std::int64_t{t.block_x() % row_blocks_} * rows_),
        w_row_bytes_(std::int64_t{args.weights.groups} * kBytes),
        w_(args.weights.tiles + (first_tile_ + t.warp()) * w_row_bytes_),
        x_(reinterpret_cast<const std::byte*>(
            args.x + (first_row_ + row_of_lane()) * args.x_stride + 8 * (t.lane() % 4))) {}

  // Asks for groups [first, first + groups()), of which those from `end` on, and rows that are not
  // there, become zeros. A warp asks for whole tile rows, which lie in one piece, and for eight
  // rows of x at once.
  LOCKSTEP_DEVICE void request(int stage, std::int32_t first, std::int32_t end) {
    std::byte* to = memory_ + stage * stage_bytes_;
    const int warps = t_.count() / kWarp;
    const int left = end - first < groups_ ? end - first : groups_;
    const int words = groups_ * (kBytes / 16), words_left = left * (kBytes / 16);
    const std::byte* w = w_ + std::int64_t{first} * kBytes;
    for (int i = t_.warp(); i < tile_rows_; i += warps) {
      const int there = first_tile_ + i <= last_tile() ? words_left : 0;
#pragma unroll 2
      for (int j = t_.lane(); j < words; j += kWarp) {
        copy(to + (i * words + j) * 16, w + j * 16, j < there);
      }
      w += warps * w_row_bytes_;
    }
    to += tile_rows_ * words * 16;
    const std::byte* x = x_ + std::int64_t{first} * 64;
    for (int row = row_of_lane(); row < rows_; row += 8 * warps) {
      const int there = first_row_ + row < args_.m ? left : 0;
#pragma unroll 2
      for (int i = 0; i < groups_; ++i) {
        copy(to + (i * rows_ + row) * 64 + t_.lane() % 4 * 16, x + i * 64, i < there);
      }
      x += 16 * warps * args_.x_stride;
    }
  }

  // A warp's product of the `i`th group of a chunk that has arrived.
  LOCKSTEP_DEVICE void multiply(int stage, int i, std::int32_t group, int row_warp, int column_warp,
                                SquareSums<Tile>& sums) {
    constexpr int kRowTiles = SquareSums<Tile>::kRowTiles;
    const std::byte* from = memory_ + stage * stage_bytes_;
    const auto* x = reinterpret_cast<const Words*>(from + tile_rows_ * groups_ * kBytes) +
                    (i * rows_ + row_warp * kWarpRows) * 4 + t_.lane();
    RowsOfGroup rows[kRowTiles];
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) rows[r].set(x[16 * r * 4], x[(16 * r + 8) * 4]);
#pragma unroll
    for (int j = 0; j < SquareSums<Tile>::kTileRows; ++j) {
      const int tile_row = column_warp * SquareSums<Tile>::kTileRows + j;
      const TilePlace place = place_of(from + (tile_row * groups_ + i) * kBytes, tile_row, group);
      Tile tile;
      tile.words = reinterpret_cast<const Words*>(place.tile)[t_.lane()];
      multiply_group<Tile, kRowTiles>(t_, tile, typename Tile::Scales(t_, place), rows, sums.at[j]);
    }
  }

  // When a leaf ends.
  LOCKSTEP_DEVICE void finish(int column_warp, SquareSums<Tile>& sums) {
#pragma unroll
    for (int j = 0; j < SquareSums<Tile>::kTileRows; ++j) {
      const int tile_row = column_warp * SquareSums<Tile>::kTileRows + j;
      finish_leaf<Tile, SquareSums<Tile>::kRowTiles>(t_, place_of(memory_, tile_row, 0),
                                                     sums.at[j]);
    }
  }

  LOCKSTEP_DEVICE std::int32_t groups() const { return groups_; }
  LOCKSTEP_DEVICE std::int64_t first_tile() const { return first_tile_; }
  LOCKSTEP_DEVICE std::int64_t first_row() const { return first_row_; }

 private:
  static constexpr int kBytes = bytes_of_tile(Tile::kFormat);

  // Tile rows behind the last have zeros for numbers, and its scales.
  LOCKSTEP_DEVICE TilePlace place_of(const std::byte* tile, int tile_row, std::int32_t group) {
    const std::int64_t row = first_tile_ + tile_row;
    return {tile,
            true,
            args_.weights.scales,
            row < last_tile() ? row : last_tile(),
            group,
            args_.weights.groups};
  }
  LOCKSTEP_DEVICE std::int64_t last_tile() const {
    return divide_up(args_.weights.rows, rows_of_tile(Tile::kFormat)) - 1;
  }
  // The first of the block's rows of x that this lane asks for.
  LOCKSTEP_DEVICE int row_of_lane() const { return 8 * t_.warp() + t_.lane() / 4; }
  LOCKSTEP_DEVICE void copy(std::byte* to, const void* from, bool there) {
    t_.copy_async(reinterpret_cast<Words*>(to), static_cast<const Words*>(from), there);
  }

  Thread& t_;
  const ProductArgs& args_;
  std::byte* memory_;
  const std::int64_t stage_bytes_;
  const std::int32_t groups_, tile_rows_, rows_;
  const int row_blocks_;
  const std::int64_t first_tile_, first_row_;
  const std::int64_t w_row_bytes_;
  const std::byte* w_;  // where the warp's first tile row begins,
  const std::byte* x_;  // and the lane's columns of the first group of its first row of x
};

// What SwiGLU makes of a warp's sums: `row` and `column` of this lane's first.
template <class Tile, class Thread>
LOCKSTEP_DEVICE void store_activated(Thread& t, const ProductArgs& args,
                                     const SquareSums<Tile>& sums, std::int64_t row,
                                     std::int64_t column) {
  const std::int64_t stride = args.weights.rows / 2;
#pragma unroll
  for (int r = 0; r < SquareSums<Tile>::kRowTiles; ++r) {
#pragma unroll
    for (int i = 0; i < kWarpColumns / (2 * kTurn); ++i) {
      const Pack<float, 4>& gate = sums.pack(r, 2 * i);
      const Pack<float, 4>& up = sums.pack(r, 2 * i + 1);
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const std::int64_t at_row = row + 16 * r + 8 * half, at_column = column + kTurn * i;
        if (at_row >= args.m || at_column >= stride) continue;
        t.store(as_pack<2>(args.activated + at_row * stride + at_column),
                Pack<std::uint16_t, 2>{{activated(gate[2 * half], up[2 * half]),
                                        activated(gate[2 * half + 1], up[2 * half + 1])}});
      }
    }
  }
}

// Columns [i * columns, (i + 1) * columns) of the product in its rows [j * rows, (j + 1) * rows),
// of segment y, for block (i * (blocks of rows) + j, y): those that read the same weights are
// neighbours.
template <class Tile, class Thread>
LOCKSTEP_DEVICE void product_many(Thread& t, const ProductArgs& args, const ManyRows& shape) {
  const ManyRowsMemory memory(args, shape);
  ChunkStages<Tile, Thread> stages(t, args, shape, memory);
  SumStack<SquareSums<Tile>, Thread> stack(
      t,
      t.template shared<Pack<float, 4>>(memory.sums(), memory.level_bytes() / 16 * memory.depth));
  const int row_warp = t.warp() / shape.column_warps;
  const int column_warp = t.warp() % shape.column_warps;

  const SumPlan& plan = args.plan;
  const int segment = t.block_y();
  const int first_leaf = t.load(plan.segments + segment);
  const int end_leaf =
      segment + 1 < plan.num_segments ? t.load(plan.segments + segment + 1) : plan.num_leaves;
  const Leaf last = t.load(plan.leaves + end_leaf - 1);
  Leaf leaf = t.load(plan.leaves + first_leaf);
  const std::int32_t begin = leaf.first_group, end = last.first_group + last.groups;

  std::int32_t requested = begin;
  const auto request = [&](int stage) {
    if (requested < end) stages.request(stage, requested, end);
    t.commit_copies();
    requested += stages.groups();
  };
#pragma unroll
  for (int stage = 0; stage < kManyStages - 1; ++stage) request(stage);
  SquareSums<Tile> sums;
  int index = first_leaf, stage = 0;
  for (std::int32_t chunk = begin; chunk < end; chunk += stages.groups()) {
    t.template wait_copies<kManyStages - 2>();
    t.sync();  // the chunk is there for all, and all are done with the one before
    request((stage + kManyStages - 1) % kManyStages);
    const std::int32_t after = chunk + stages.groups();
    const std::int32_t chunk_end = after < end ? after : end;
    for (std::int32_t group = chunk; group < chunk_end; ++group) {
      stages.multiply(stage, group - chunk, group, row_warp, column_warp, sums);
      if (group + 1 < leaf.first_group + leaf.groups) continue;
      stages.finish(column_warp, sums);
      stack.push(sums, leaf.merges);
      sums = SquareSums<Tile>{};
      if (++index < end_leaf) leaf = t.load(plan.leaves + index);
    }
    stage = (stage + 1) % kManyStages;
  }

  const std::int64_t row = stages.first_row() + row_warp * kWarpRows + t.lane() / 4;
  const std::int64_t first_n =
      stages.first_tile() * rows_of_tile(Tile::kFormat) + column_warp * kWarpColumns;
  const int of_lane = t.lane() % 4 * 2;
  if (args.activated != nullptr) {
    return store_activated(t, args, stack.top(), row, first_n / 2 + of_lane);
  }
  float* out = args.out + segment * args.segment_stride;
  SquareSums<Tile>::for_each([&](int i, int r, int c) {
    const std::int64_t n = first_n + of_lane + i * rows_of_tile(Tile::kFormat) + 8 * c;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const std::int64_t at_row = row + 16 * r + j / 2 * 8, at_n = n + j % 2;
      if (at_row >= args.m || at_n >= args.weights.rows) continue;
      t.store(out + at_row * args.row_stride + at_n, stack.top().at[i].at[r][c][j]);
    }
  });
}

}  // namespace lockstep::kernels::cuda

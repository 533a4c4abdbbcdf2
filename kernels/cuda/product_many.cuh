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
#include "kernels/cuda/tile_formats.cuh"

namespace lockstep::kernels::cuda {

// A warp's sums.
template <class Tile>
struct SquareSums {
  static constexpr int kTileRows = kWarpColumns / rows_of_tile(Tile::kFormat);
  static constexpr int kRowTiles = kWarpRows / 16;
  static constexpr int kPacks = kTileRows * kRowTiles * Tile::kColumnTiles;
  WarpSums<kRowTiles, Tile::kColumnTiles> at[kTileRows];

  LOCKSTEP_DEVICE Pack<float, 4>& pack(int tile_row, int row_tile, int column_tile) {
    return at[tile_row].at[row_tile][column_tile];
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

// The sums of a segment that wait for others.
template <class Tile, class Thread>
class SumStack {
 public:
  LOCKSTEP_DEVICE SumStack(Thread& t, const ManyRowsMemory& memory)
      : t_(t),
        waiting_(t.template shared<Pack<float, 4>>(memory.sums(),
                                                   memory.level_bytes() / 16 * memory.depth)) {}

  LOCKSTEP_DEVICE void push(SquareSums<Tile>& leaf, int merges) {
    if (merges == 0) {
      if (size_ > 0) {
        Sums::for_each(
            [&](int i, int r, int c) { waiting(size_ - 1, i, r, c) = top_.pack(i, r, c); });
      }
      top_ = leaf;
      ++size_;
      return;
    }
    Sums::for_each([&](int i, int r, int c) {
      top_.pack(i, r, c) = sum_of(top_.pack(i, r, c), leaf.pack(i, r, c));
    });
    for (; merges > 1; --merges) {
      --size_;
      Sums::for_each([&](int i, int r, int c) {
        top_.pack(i, r, c) = sum_of(waiting(size_ - 1, i, r, c), top_.pack(i, r, c));
      });
    }
  }

  LOCKSTEP_DEVICE Pack<float, 4>& top(int i, int r, int c) { return top_.pack(i, r, c); }

 private:
  using Sums = SquareSums<Tile>;

  LOCKSTEP_DEVICE static Pack<float, 4> sum_of(const Pack<float, 4>& a, const Pack<float, 4>& b) {
    return {{a[0] + b[0], a[1] + b[1], a[2] + b[2], a[3] + b[3]}};
  }
  // This thread's alone.
  LOCKSTEP_DEVICE Pack<float, 4>& waiting(int level, int i, int r, int c) {
    const int pack = (i * Sums::kRowTiles + r) * Tile::kColumnTiles + c;
    return waiting_[(level * Sums::kPacks + pack) * t_.count() + t_.index()];
  }

  Thread& t_;
  Pack<float, 4>* waiting_;
  SquareSums<Tile> top_;
  int size_ = 0;  // the top among them
};

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
        first_tile_(std::int64_t{t.block_x()} * tile_rows_),
        first_row_(std::int64_t{t.block_y()} / args.plan.num_segments * rows_) {}

  // Asks for groups [first, first + groups()), of which those from `end` on, and rows that are not
  // there, become zeros.
  LOCKSTEP_DEVICE void request(int stage, std::int32_t first, std::int32_t end) {
    std::byte* to = memory_ + stage * stage_bytes_;
    const int warps = t_.count() / kWarp;
    const std::int64_t last_tile = divide_up(args_.weights.rows, rows_of_tile(Tile::kFormat)) - 1;
    for (int i = t_.warp(); i < tile_rows_ * groups_; i += warps) {
      const std::int64_t tile_row = first_tile_ + i / groups_;
      const std::int32_t group = first + i % groups_;
      const bool there = tile_row <= last_tile && group < end;
      const std::int64_t tile = there ? tile_row * args_.weights.groups + group : 0;
      for (int j = t_.lane(); j < kBytes / 16; j += kWarp) {
        copy(to + i * kBytes + 16 * j, args_.weights.tiles + tile * kBytes + 16 * j, there);
      }
    }
    to += tile_rows_ * groups_ * kBytes;
    for (int i = t_.warp(); i < groups_ * rows_ / 8; i += warps) {
      const int row = i % (rows_ / 8) * 8 + t_.lane() / 4;
      const std::int32_t group = first + i / (rows_ / 8);
      const bool there = first_row_ + row < args_.m && group < end;
      const std::int64_t at = there ? (first_row_ + row) * args_.x_stride + 32 * group : 0;
      copy(to + (i * kWarp + t_.lane()) * 16, args_.x + at + 8 * (t_.lane() % 4), there);
    }
  }

  // A warp's product of the `i`th group of a chunk that has arrived.
  LOCKSTEP_DEVICE void multiply(int stage, int i, std::int32_t group, int row_warp, int column_warp,
                                SquareSums<Tile>& sums) {
    constexpr int kRowTiles = SquareSums<Tile>::kRowTiles;
    const std::byte* from = memory_ + stage * stage_bytes_;
    const auto* x = reinterpret_cast<const Words*>(from + tile_rows_ * groups_ * kBytes) +
                    (i * rows_ + row_warp * kWarpRows) * 4 + t_.lane();
    Words halves[kRowTiles][2];
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int half = 0; half < 2; ++half) halves[r][half] = x[(16 * r + 8 * half) * 4];
    }
#pragma unroll
    for (int j = 0; j < SquareSums<Tile>::kTileRows; ++j) {
      const int tile_row = column_warp * SquareSums<Tile>::kTileRows + j;
      const TilePlace place = place_of(from + (tile_row * groups_ + i) * kBytes, tile_row, group);
      Tile tile;
      tile.words = reinterpret_cast<const Words*>(place.tile)[t_.lane()];
      multiply_group<Tile, kRowTiles>(t_, tile, typename Tile::Scales(t_, place), halves,
                                      sums.at[j]);
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
    const std::int64_t last = divide_up(args_.weights.rows, rows_of_tile(Tile::kFormat)) - 1;
    const std::int64_t row = first_tile_ + tile_row;
    return {tile, true, args_.weights.scales, row < last ? row : last, group, args_.weights.groups};
  }
  LOCKSTEP_DEVICE void copy(std::byte* to, const void* from, bool there) {
    t_.copy_async(reinterpret_cast<Words*>(to), static_cast<const Words*>(from), there);
  }

  Thread& t_;
  const ProductArgs& args_;
  std::byte* memory_;
  const std::int64_t stage_bytes_;
  const std::int32_t groups_, tile_rows_, rows_;
  const std::int64_t first_tile_, first_row_;
};

// Rows [x * columns, (x + 1) * columns) of W by rows [y / segments * rows, ...) of x, of segment
// y % segments, for block (x, y).
template <class Tile, class Thread>
LOCKSTEP_DEVICE void product_many(Thread& t, const ProductArgs& args, const ManyRows& shape) {
  const ManyRowsMemory memory(args, shape);
  ChunkStages<Tile, Thread> stages(t, args, shape, memory);
  SumStack<Tile, Thread> stack(t, memory);
  const int row_warp = t.warp() / shape.column_warps;
  const int column_warp = t.warp() % shape.column_warps;

  const SumPlan& plan = args.plan;
  const int segment = t.block_y() % plan.num_segments;
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
  const std::int64_t n = stages.first_tile() * rows_of_tile(Tile::kFormat) +
                         column_warp * kWarpColumns + t.lane() % 4 * 2;
  float* out = args.out + segment * args.segment_stride;
  SquareSums<Tile>::for_each([&](int i, int r, int c) {
    const std::int64_t first_n = n + i * rows_of_tile(Tile::kFormat) + 8 * c;
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const std::int64_t at_row = row + 16 * r + j / 2 * 8, at_n = first_n + j % 2;
      if (at_row >= args.m || at_n >= args.weights.rows) continue;
      t.store(out + at_row * args.row_stride + at_n, stack.top(i, r, c)[j]);
    }
  });
}

}  // namespace lockstep::kernels::cuda

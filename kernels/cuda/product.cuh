// Products x * W^T: device code.
//
// A warp takes a leaf of a tile row of W at a time, whose bytes pass through shared memory so that
// enough of them are on their way. Of x a lane loads the eight columns of a group that it has of W.
// Which columns a step of the matrix unit takes is of no matter as long as it takes the same of x
// and W: pairs 0 and 1 of every lane's eight columns are in the first step of a group, pairs 2 and
// 3 in the second.
#pragma once

#include <cmath>

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/tile_formats.cuh"

namespace lockstep::kernels::cuda {

// Sums of a warp: [16 * kRowTiles rows of x, 8 * kColumnTiles rows of W].
template <int kRowTiles, int kColumnTiles>
struct WarpSums {
  Pack<float, 4> at[kRowTiles][kColumnTiles] = {};
};

// The rows of x that a block multiplies, as a lane reads them.
struct RowsOfX {
  const std::uint16_t* x;
  std::int64_t stride;
  std::int32_t rows;

  // Eight columns of rows row_tile * 16 + g and + 8 + g in a group; zeros where there is no row or
  // no group.
  template <class Thread>
  LOCKSTEP_DEVICE void load(Thread& t, int row_tile, std::int32_t group, bool there,
                            Words (&halves)[2]) const {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = 16 * row_tile + 8 * half + t.lane() / 4;
      halves[half] = Words{};
      if (row >= rows || !there) continue;
      const std::uint16_t* from = x + row * stride + 32 * group + 8 * (t.lane() % 4);
      halves[half] = t.load(reinterpret_cast<const Words*>(from));
    }
  }
};

// Adds a group's two steps to `sums`.
template <class Thread>
LOCKSTEP_DEVICE void add_group(Thread& t, Pack<float, 4>& sums, const Words (&x)[2],
                               const Words& w) {
#pragma unroll
  for (int step = 0; step < 2; ++step) {
    const Words a{{x[0][2 * step], x[1][2 * step], x[0][2 * step + 1], x[1][2 * step + 1]}};
    t.multiply_add(sums, a, {{w[2 * step], w[2 * step + 1]}});
  }
}

// One group of a leaf. With scales, the group's own sum is scaled and added; the sum of x that a
// minimum is multiplied with is a product by ones.
template <class Tile, int kRowTiles, class Thread>
LOCKSTEP_DEVICE void multiply_group(Thread& t, const Tile& tile,
                                    const typename Tile::Scales& scales,
                                    const Words (&x)[kRowTiles][2],
                                    WarpSums<kRowTiles, Tile::kColumnTiles>& sums) {
  if constexpr (!Tile::kScaled) {
#pragma unroll
    for (int c = 0; c < Tile::kColumnTiles; ++c) {
      const Words w = tile.pairs(t, c);
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) add_group(t, sums.at[r][c], x[r], w);
    }
  } else {
    Pack<float, 4> sums_of_x[kRowTiles] = {};
    if constexpr (Tile::kHasMinimum) {
      constexpr std::uint32_t kOnes = 0x3f803f80;
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        add_group(t, sums_of_x[r], x[r], {{kOnes, kOnes, kOnes, kOnes}});
      }
    }
#pragma unroll
    for (int c = 0; c < Tile::kColumnTiles; ++c) {
      const Words w = tile.pairs(t, c);
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        Pack<float, 4> dots{};
        add_group(t, dots, x[r], w);
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          float& sum = sums.at[r][c][i];
          sum = fmaf(dots[i], scales.of(c, i % 2), sum);
          if constexpr (Tile::kHasMinimum) {
            sum = fmaf(sums_of_x[r][i], scales.minimum(c, i % 2), sum);
          }
        }
      }
    }
  }
}

// A warp's tiles on their way through shared memory, a leaf at a time, each in one of kStages
// stages.
template <class Tile, class Thread>
class LeafStages {
 public:
  LOCKSTEP_DEVICE LeafStages(Thread& t, const ProductArgs& args)
      : t_(t),
        args_(args),
        memory_(t.template shared<std::byte>(t.warp() * kStages * kStageBytes,
                                             kStages * kStageBytes)) {}

  // Asks for the tiles of a leaf. Those behind its last group become zeros.
  LOCKSTEP_DEVICE void request(int stage, std::int64_t tile_row, const Leaf& leaf) {
    const std::byte* from =
        args_.weights.tiles + (tile_row * args_.weights.groups + leaf.first_group) * kBytes;
    std::byte* to = memory_ + stage * kStageBytes;
#pragma unroll
    for (int i = 0; i < kLeafGroups; ++i) {
      copy(to + i * kBytes, from + i * kBytes, t_.lane(), i < leaf.groups);
    }
    if constexpr (kScaleWords > 0) {  // of all eight tiles, eight lanes each
      for (int i = t_.lane(); i < kLeafGroups * kScaleWords; i += kWarp) {
        const int tile = i / kScaleWords;
        copy(to + tile * kBytes + 512, from + tile * kBytes + 512, i % kScaleWords,
             tile < leaf.groups);
      }
    }
  }

  // The product of a leaf that has arrived. A leaf of fewer groups than eight goes through the same
  // steps with zeros, which change no bit: there are no branches in the way of loads.
  template <int kRowTiles>
  LOCKSTEP_DEVICE WarpSums<kRowTiles, Tile::kColumnTiles> multiply(int stage, std::int64_t tile_row,
                                                                   const Leaf& leaf,
                                                                   const RowsOfX& rows) {
    WarpSums<kRowTiles, Tile::kColumnTiles> sums;
#pragma unroll(kRowTiles* Tile::kColumnTiles <= 4 ? kLeafGroups : 1)
    for (int i = 0; i < kLeafGroups; ++i) {
      const std::byte* from = memory_ + stage * kStageBytes + i * kBytes;
      const TilePlace place{from,     i < leaf.groups,      args_.weights.scales,
                            tile_row, leaf.first_group + i, args_.weights.groups};
      Words x[kRowTiles][2];
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) rows.load(t_, r, place.group, place.there, x[r]);
      Tile tile;
      tile.words = reinterpret_cast<const Words*>(from)[t_.lane()];
      multiply_group<Tile, kRowTiles>(t_, tile, typename Tile::Scales(t_, place), x, sums);
    }
    return sums;
  }

 private:
  static constexpr int kBytes = bytes_of_tile(Tile::kFormat);
  static constexpr int kScaleWords = (kBytes - 512) / 16;  // in packs of 16 bytes
  static constexpr int kStageBytes = kLeafGroups * kBytes;

  LOCKSTEP_DEVICE void copy(std::byte* to, const std::byte* from, int i, bool there) {
    t_.copy_async(reinterpret_cast<Words*>(to) + i, reinterpret_cast<const Words*>(from) + i,
                  there);
  }

  Thread& t_;
  const ProductArgs& args_;
  std::byte* memory_;
};

// The plan's tree, which a block keeps in shared memory: nobody waits for it in the end.
template <class Thread>
class SharedTree {
 public:
  LOCKSTEP_DEVICE SharedTree(Thread& t, const SumPlan& plan, const ProductMemory& memory)
      : t_(t),
        plan_(plan),
        additions_(t.template shared<Addition>(memory.additions(), plan.num_leaves)),
        level_ends_(t.template shared<std::int32_t>(memory.level_ends(), plan.num_levels)),
        segments_(t.template shared<std::int32_t>(memory.segments(), plan.num_segments)) {}

  LOCKSTEP_DEVICE void fetch() {
    fetch(plan_.additions, plan_.num_leaves - plan_.num_segments, additions_);
    fetch(plan_.level_ends, plan_.num_levels, level_ends_);
    fetch(plan_.segments, plan_.num_segments, segments_);
  }

  // Adds the leaves' sums [tiles, leaves, leaf_size]. REQUIRES: the block has met since they and
  // the tree were written.
  LOCKSTEP_DEVICE void add(float* sums, int tiles, int leaf_size) {
    std::int32_t begin = 0;
    for (int level = 0; level < plan_.num_levels; ++level) {
      const std::int32_t end = level_ends_[level];
      const int per_tile = (end - begin) * leaf_size;
      for (int i = t_.index(); i < tiles * per_tile; i += t_.count()) {
        const Addition addition = additions_[begin + i % per_tile / leaf_size];
        float* tile = sums + i / per_tile * plan_.num_leaves * leaf_size + i % leaf_size;
        tile[addition.into * leaf_size] += tile[addition.from * leaf_size];
      }
      begin = end;
      t_.sync();
    }
  }

  LOCKSTEP_DEVICE std::int32_t segment(int i) const { return segments_[i]; }

 private:
  template <class T>
  LOCKSTEP_DEVICE void fetch(const T* from, int count, T* to) {
    for (int i = t_.index(); i < count; i += t_.count()) to[i] = t_.load(from + i);
  }

  Thread& t_;
  const SumPlan& plan_;
  Addition* additions_;
  std::int32_t* level_ends_;
  std::int32_t* segments_;
};

// A warp's share of the leaves, one after the other: while one is multiplied, the next is under
// way.
template <class Tile, int kRowTiles, class Thread>
LOCKSTEP_DEVICE void multiply_leaves(Thread& t, const ProductArgs& args, const RowsOfX& rows,
                                     std::int64_t first_tile, int tiles, SharedTree<Thread>& tree,
                                     float* sums) {
  constexpr int kColumns = rows_of_tile(Tile::kFormat);
  const int leaves = args.plan.num_leaves;
  LeafStages<Tile, Thread> stages(t, args);
  const int step = t.count() / kWarp;
  int stage = 0;
  Leaf next{};
  if (t.warp() < tiles * leaves) {
    next = t.load(args.plan.leaves + t.warp() % leaves);
    stages.request(0, first_tile + t.warp() / leaves, next);
  }
  t.commit_copies();
  tree.fetch();
  for (int unit = t.warp(); unit < tiles * leaves; unit += step) {
    const Leaf leaf = next;
    const int ahead = unit + step;
    if (ahead < tiles * leaves) {
      next = t.load(args.plan.leaves + ahead % leaves);
      stages.request(1 - stage, first_tile + ahead / leaves, next);
    }
    t.commit_copies();
    t.template wait_copies<1>();
    t.sync_warp();
    const auto sum =
        stages.template multiply<kRowTiles>(stage, first_tile + unit / leaves, leaf, rows);
    t.sync_warp();  // all lanes have read the stage before it is filled again
    stage = 1 - stage;

    float* out = sums + unit * rows.rows * kColumns;
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = 16 * r + 8 * half + t.lane() / 4;
        if (row >= rows.rows) continue;
#pragma unroll
        for (int c = 0; c < Tile::kColumnTiles; ++c) {
          float* pair = out + row * kColumns + 8 * c + t.lane() % 4 * 2;
          pair[0] = sum.at[r][c][2 * half];
          pair[1] = sum.at[r][c][2 * half + 1];
        }
      }
    }
  }
}

// Tile rows [x * tiles, (x + 1) * tiles) of W by rows [y * rows, (y + 1) * rows) of x, for block
// (x, y).
template <class Tile, int kRowTiles, class Thread>
LOCKSTEP_DEVICE void product(Thread& t, const ProductArgs& args, const ProductShape& shape) {
  constexpr int kColumns = rows_of_tile(Tile::kFormat);
  static_assert(kColumns == 8 * Tile::kColumnTiles);
  const ProductMemory memory(args);
  SharedTree<Thread> tree(t, args.plan, memory);
  const std::int64_t first_tile = std::int64_t{t.block_x()} * shape.tiles;
  const std::int64_t left_tiles = divide_up(args.weights.rows, kColumns) - first_tile;
  const int tiles = static_cast<int>(left_tiles < shape.tiles ? left_tiles : shape.tiles);
  const std::int32_t first_row = t.block_y() * shape.rows;
  const int rows = args.m - first_row < shape.rows ? args.m - first_row : shape.rows;
  const int leaf_size = rows * kColumns;
  const int leaves = args.plan.num_leaves;
  float* sums = t.template shared<float>(memory.sums(), std::int64_t{tiles} * leaves * leaf_size);

  const RowsOfX x{args.x + first_row * args.x_stride, args.x_stride, rows};
  multiply_leaves<Tile, kRowTiles>(t, args, x, first_tile, tiles, tree, sums);
  t.sync();
  tree.add(sums, tiles, leaf_size);

  const int tile_size = args.plan.num_segments * leaf_size;
  for (int i = t.index(); i < tiles * tile_size; i += t.count()) {
    const int tile = i / tile_size;
    const std::int64_t n = (first_tile + tile) * kColumns + i % kColumns;
    if (n >= args.weights.rows) continue;
    const int segment = i % tile_size / leaf_size;
    const std::int64_t row = first_row + i % leaf_size / kColumns;
    t.store(args.out + segment * args.segment_stride + row * args.row_stride + n,
            sums[(tile * leaves + tree.segment(segment)) * leaf_size + i % leaf_size]);
  }
}

}  // namespace lockstep::kernels::cuda

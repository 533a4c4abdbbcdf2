// Products x * W^T of few rows: device code.
//
// A warp takes a leaf of a tile row of W at a time, whose bytes pass through shared memory so that
// enough of them are on their way, and goes from tile row to tile row: what it needs of x for a
// leaf stays in registers. Of x a lane has the eight columns of a group that it has of W. Leaves
// meet in shared memory.
#pragma once

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/product_group.cuh"
#include "kernels/cuda/tile_formats.cuh"

namespace lockstep::kernels::cuda {

// At most 16 rows of x, as a lane has them: of every group of a leaf eight columns of rows g and
// 8 + g. Zeros where there is no row or no group.
struct LeafOfX {
  RowsOfGroup at[kLeafGroups][1];

  template <class Thread>
  LOCKSTEP_DEVICE void load(Thread& t, const std::uint16_t* x, std::int64_t stride, int rows,
                            const Leaf& leaf) {
#pragma unroll
    for (int i = 0; i < kLeafGroups; ++i) {
      Words halves[2] = {};
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = 8 * half + t.lane() / 4;
        if (row >= rows || i >= leaf.groups) continue;
        const std::uint16_t* from = x + row * stride + 32 * (leaf.first_group + i);
        halves[half] = t.load(reinterpret_cast<const Words*>(from + 8 * (t.lane() % 4)));
      }
      at[i][0].set(halves[0], halves[1]);
    }
  }
};

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
    if constexpr (kScaleWords > 0) {  // of all eight tiles, some lanes each
      for (int i = t_.lane(); i < kLeafGroups * kScaleWords; i += kWarp) {
        const int tile = i / kScaleWords;
        copy(to + tile * kBytes + 512, from + tile * kBytes + 512, i % kScaleWords,
             tile < leaf.groups);
      }
    }
  }

  // The product of a leaf that has arrived. A leaf of fewer groups than four or eight goes through
  // the same steps with zeros, which change no bit: there are few branches in the way of loads.
  LOCKSTEP_DEVICE WarpSums<1, Tile::kColumnTiles> multiply(int stage, std::int64_t tile_row,
                                                           const Leaf& leaf, const LeafOfX& x) {
    WarpSums<1, Tile::kColumnTiles> sums;
    const auto place_of = [&](int i) {
      return TilePlace{memory_ + stage * kStageBytes + i * kBytes,
                       i < leaf.groups,
                       args_.weights.scales,
                       tile_row,
                       leaf.first_group + i,
                       args_.weights.groups};
    };
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (half * kLeafGroups / 2 >= leaf.groups) break;  // as where a lane is a head of 128
#pragma unroll
      for (int j = 0; j < kLeafGroups / 2; ++j) {
        const int i = half * kLeafGroups / 2 + j;
        const TilePlace place = place_of(i);
        Tile tile;
        tile.words = reinterpret_cast<const Words*>(place.tile)[t_.lane()];
        multiply_group<Tile, 1>(t_, tile, typename Tile::Scales(t_, place), x.at[i], sums);
      }
    }
    finish_leaf<Tile, 1>(t_, place_of(0), sums);
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
  LOCKSTEP_DEVICE SharedTree(Thread& t, const SumPlan& plan, const FewRowsMemory& memory)
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
    const int warps = t_.count() / kWarp;
    std::int32_t begin = 0;
    for (int level = 0; level < plan_.num_levels; ++level) {
      const std::int32_t end = level_ends_[level];
      // A warp an addition of a tile: divisions are few.
      for (int i = t_.warp(); i < tiles * (end - begin); i += warps) {
        const Addition addition = additions_[begin + i % (end - begin)];
        float* tile = sums + i / (end - begin) * plan_.num_leaves * leaf_size;
        for (int j = t_.lane(); j < leaf_size; j += kWarp) {
          tile[addition.into * leaf_size + j] += tile[addition.from * leaf_size + j];
        }
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
template <class Tile, class Thread>
LOCKSTEP_DEVICE void multiply_leaves(Thread& t, const ProductArgs& args, const std::uint16_t* x,
                                     int rows, std::int64_t first_tile, int tiles,
                                     SharedTree<Thread>& tree, float* sums) {
  constexpr int kColumns = rows_of_tile(Tile::kFormat);
  const int leaves = args.plan.num_leaves;
  const int warps = t.count() / kWarp;
  const int begin = tiles * leaves * t.warp() / warps;
  const int end = tiles * leaves * (t.warp() + 1) / warps;
  LeafStages<Tile, Thread> stages(t, args);
  Leaf requested{};
  const auto request = [&](int stage, int unit) {
    if (unit < end) {
      if (unit == begin || unit % tiles == 0) requested = t.load(args.plan.leaves + unit / tiles);
      stages.request(stage, first_tile + unit % tiles, requested);
    }
    t.commit_copies();
  };
  int stage = 0;
  request(stage, begin);
  tree.fetch();
  LeafOfX leaf_of_x;
  for (int unit = begin; unit < end; ++unit) {
    const Leaf leaf = requested;
    const int tile = unit % tiles;
    if (unit == begin || tile == 0) leaf_of_x.load(t, x, args.x_stride, rows, leaf);
    request(1 - stage, unit + 1);
    t.template wait_copies<1>();
    t.sync_warp();
    const auto sum = stages.multiply(stage, first_tile + tile, leaf, leaf_of_x);
    t.sync_warp();  // all lanes have read the stage before it is filled again
    stage = 1 - stage;

    float* out = sums + (tile * leaves + unit / tiles) * rows * kColumns;
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = 8 * half + t.lane() / 4;
      if (row >= rows) continue;
#pragma unroll
      for (int c = 0; c < Tile::kColumnTiles; ++c) {
        *as_pack<2>(out + row * kColumns + 8 * c +
                    t.lane() % 4 * 2) = {{sum.at[0][c][2 * half], sum.at[0][c][2 * half + 1]}};
      }
    }
  }
}

// Tile rows [i * tiles, (i + 1) * tiles) of W by rows [j * rows, (j + 1) * rows) of x, for block
// i * (blocks of rows) + j: those that read the same weights are neighbours.
template <class Tile, class Thread>
LOCKSTEP_DEVICE void product_few(Thread& t, const ProductArgs& args, const FewRows& shape) {
  constexpr int kColumns = rows_of_tile(Tile::kFormat);
  static_assert(kColumns == 8 * Tile::kColumnTiles);
  const FewRowsMemory memory(args);
  SharedTree<Thread> tree(t, args.plan, memory);
  const int row_blocks = static_cast<int>(divide_up(args.m, shape.rows));
  const std::int64_t first_tile = std::int64_t{t.block_x() / row_blocks} * shape.tiles;
  const std::int64_t left_tiles = divide_up(args.weights.rows, kColumns) - first_tile;
  const int tiles = static_cast<int>(left_tiles < shape.tiles ? left_tiles : shape.tiles);
  const std::int32_t first_row = t.block_x() % row_blocks * shape.rows;
  const int rows = args.m - first_row < shape.rows ? args.m - first_row : shape.rows;
  const int leaf_size = rows * kColumns;
  const int leaves = args.plan.num_leaves;
  float* sums = t.template shared<float>(memory.sums(), std::int64_t{tiles} * leaves * leaf_size);

  multiply_leaves<Tile>(t, args, args.x + first_row * args.x_stride, rows, first_tile, tiles, tree,
                        sums);
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

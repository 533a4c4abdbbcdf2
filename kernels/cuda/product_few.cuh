// Products x * W^T of few rows: device code.
//
// A warp takes a leaf of a tile row of W at a time, whose bytes pass through shared memory so that
// enough of them are on their way, and goes from tile row to tile row: what it needs of x for a
// leaf stays in registers. Of x a lane has the eight columns of a group that it has of W. Leaves
// meet in shared memory.
#pragma once

#include <type_traits>

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/product_group.cuh"
#include "kernels/cuda/swiglu.cuh"
#include "kernels/cuda/tile_formats.cuh"

namespace lockstep::kernels::cuda {

// A leaf of at most 8 * kHalves rows of x, as a lane has them: of every group eight columns of row
// g and, of two halves, of row 8 + g. Zeros where there is no row or no group.
template <int kHalves>
struct LeafOfX {
  Words at[kLeafGroups][kHalves];

  template <class Thread>
  LOCKSTEP_DEVICE void load(Thread& t, const std::uint16_t* x, std::int64_t stride, int rows,
                            const Leaf& leaf) {
#pragma unroll
    for (int i = 0; i < kLeafGroups; ++i) {
#pragma unroll
      for (int half = 0; half < kHalves; ++half) {
        const int row = 8 * half + t.lane() / 4;
        at[i][half] = {};
        if (row >= rows || i >= leaf.groups) continue;
        const std::uint16_t* from = x + row * stride + 32 * (leaf.first_group + i);
        at[i][half] = t.load(reinterpret_cast<const Words*>(from + 8 * (t.lane() % 4)));
      }
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

  // The product of a leaf that has arrived, to `out` [rows, rows of a tile]. A leaf of fewer groups
  // than four or eight goes through the same steps with zeros, which change no bit: there are few
  // branches in the way of loads.
  LOCKSTEP_DEVICE void multiply(int stage, std::int64_t tile_row, const Leaf& leaf,
                                const LeafOfX<2>& x, int rows, float* out) {
    WarpSums<1, Tile::kColumnTiles> sums;
    for_each_group(stage, tile_row, leaf, [&](int i, const Tile& tile, const TilePlace& place) {
      RowsOfGroup of_group[1];
      of_group[0].set(x.at[i][0], x.at[i][1]);
      multiply_group<Tile, 1>(t_, tile, typename Tile::Scales(t_, place), of_group, sums);
    });
    finish_leaf<Tile, 1>(t_, place_of(stage, tile_row, leaf, 0), sums);
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      const int row = 8 * half + t_.lane() / 4;
      if (row >= rows) continue;
#pragma unroll
      for (int c = 0; c < Tile::kColumnTiles; ++c) {
        *as_pack<2>(out + row * kRows + 8 * c +
                    t_.lane() % 4 * 2) = {{sums.at[0][c][2 * half], sums.at[0][c][2 * half + 1]}};
      }
    }
  }

  // The same of up to eight rows.
  LOCKSTEP_DEVICE void multiply(int stage, std::int64_t tile_row, const Leaf& leaf,
                                const LeafOfX<1>& x, int rows, float* out) {
    TurnedSums<Tile::kColumnTiles / 2> sums;
    for_each_group(stage, tile_row, leaf, [&](int i, const Tile& tile, const TilePlace& place) {
      multiply_turned(t_, tile, place, x.at[i][0], sums);
    });
    finish_turned<Tile>(t_, place_of(stage, tile_row, leaf, 0), sums);
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int row = t_.lane() % 4 * 2 + i;
      if (row >= rows) continue;
#pragma unroll
      for (int c = 0; c < Tile::kColumnTiles; ++c) {
        out[row * kRows + 8 * c + t_.lane() / 4] = sums.at[c / 2][c % 2 * 2 + i];
      }
    }
  }

 private:
  static constexpr int kBytes = bytes_of_tile(Tile::kFormat);
  static constexpr int kScaleWords = (kBytes - 512) / 16;  // in packs of 16 bytes
  static constexpr int kStageBytes = kLeafGroups * kBytes;
  static constexpr int kRows = rows_of_tile(Tile::kFormat);

  LOCKSTEP_DEVICE TilePlace place_of(int stage, std::int64_t tile_row, const Leaf& leaf, int i) {
    return {memory_ + stage * kStageBytes + i * kBytes,
            i < leaf.groups,
            args_.weights.scales,
            tile_row,
            leaf.first_group + i,
            args_.weights.groups};
  }

  // body(group of the leaf, its tile, where it is)
  template <class Body>
  LOCKSTEP_DEVICE void for_each_group(int stage, std::int64_t tile_row, const Leaf& leaf,
                                      const Body& body) {
#pragma unroll
    for (int half = 0; half < 2; ++half) {
      if (half * kLeafGroups / 2 >= leaf.groups) break;  // as where a lane is a head of 128
#pragma unroll
      for (int j = 0; j < kLeafGroups / 2; ++j) {
        const int i = half * kLeafGroups / 2 + j;
        const TilePlace place = place_of(stage, tile_row, leaf, i);
        Tile tile;
        tile.words = reinterpret_cast<const Words*>(place.tile)[t_.lane()];
        body(i, tile, place);
      }
    }
  }

  LOCKSTEP_DEVICE void copy(std::byte* to, const std::byte* from, int i, bool there) {
    t_.copy_async_once(reinterpret_cast<Words*>(to) + i, reinterpret_cast<const Words*>(from) + i,
                       there);
  }

  Thread& t_;
  const ProductArgs& args_;
  std::byte* memory_;
};

// body(i, j) for all i below `outer` and j below `inner`, by the warps of a block in turns: a
// division an item, where one an element would be most of a small product's end.
template <class Thread, class Body>
LOCKSTEP_DEVICE void in_turns(Thread& t, int outer, int inner, const Body& body) {
  for (int item = t.warp(); item < outer * inner; item += t.count() / kWarp) {
    const int i = item / inner;
    body(i, item - i * inner);
  }
}

// The plan's tree, which a block keeps in shared memory: nobody waits for it in the end.
template <class Thread>
class SharedTree {
 public:
  LOCKSTEP_DEVICE SharedTree(Thread& t, const SumPlan& plan, const FewRowsMemory& memory)
      : t_(t),
        plan_(plan),
        additions_(t.template shared<Addition>(memory.additions(), plan.num_lanes)),
        lanes_(t.template shared<std::int32_t>(memory.lanes(), plan.num_lanes + 1)),
        level_ends_(t.template shared<std::int32_t>(memory.level_ends(), plan.num_levels)),
        segments_(t.template shared<std::int32_t>(memory.segments(), plan.num_segments)) {}

  LOCKSTEP_DEVICE void fetch() {
    fetch(plan_.additions, plan_.num_lanes - plan_.num_segments, additions_);
    fetch(plan_.lanes, plan_.num_lanes + 1, lanes_);
    fetch(plan_.level_ends, plan_.num_levels, level_ends_);
    fetch(plan_.segments, plan_.num_segments, segments_);
  }

  // Adds the leaves' sums [tiles, leaves, leaf_size]. REQUIRES: the block has met since they and
  // the tree were written.
  LOCKSTEP_DEVICE void add(float* sums, int tiles, int leaf_size) {
    if (plan_.num_lanes < plan_.num_leaves) add_lanes(sums, tiles, leaf_size);
    std::int32_t begin = 0;
    for (int level = 0; level < plan_.num_levels; ++level) {
      const std::int32_t end = level_ends_[level];
      in_turns(t_, tiles, end - begin, [&](int i, int of_level) {
        const Addition addition = additions_[begin + of_level];
        float* tile = sums + i * plan_.num_leaves * leaf_size;
        for (int j = t_.lane(); j < leaf_size; j += kWarp) {
          tile[addition.into * leaf_size + j] += tile[addition.from * leaf_size + j];
        }
      });
      begin = end;
      t_.sync();
    }
  }

  LOCKSTEP_DEVICE std::int32_t segment(int i) const { return segments_[i]; }

 private:
  // A lane's leaves one after the other, into the first.
  LOCKSTEP_DEVICE void add_lanes(float* sums, int tiles, int leaf_size) {
    in_turns(t_, tiles, plan_.num_lanes, [&](int i, int lane) {
      const std::int32_t first = lanes_[lane], end = lanes_[lane + 1];
      for (int j = t_.lane(); j < leaf_size; j += kWarp) {
        float* at = sums + (i * plan_.num_leaves + first) * leaf_size + j;
        float sum = *at;
#pragma unroll 4
        for (int leaf = 1; leaf < end - first; ++leaf) sum += at[leaf * leaf_size];
        *at = sum;
      }
    });
    t_.sync();
  }

  template <class T>
  LOCKSTEP_DEVICE void fetch(const T* from, int count, T* to) {
    for (int i = t_.index(); i < count; i += t_.count()) to[i] = t_.load(from + i);
  }

  Thread& t_;
  const SumPlan& plan_;
  Addition* additions_;
  std::int32_t* lanes_;
  std::int32_t* level_ends_;
  std::int32_t* segments_;
};

// Asks for the beginnings of the parts of what is multiplied next. Blocks are to end at once, and
// the lanes of a warp ask one after the other: parts are dealt out to blocks first, then to warps,
// then to lanes.
template <class Thread>
LOCKSTEP_DEVICE void request_ahead(Thread& t, const WeightsAhead& ahead) {
  const int blocks = t.blocks_x();
  for (int i = (t.lane() * kProductWarps + t.warp()) * blocks + t.block_x(); i < ahead.parts;
       i += kWarp * kProductWarps * blocks) {
    t.prefetch(
        ahead.tiles + i / kProductWarps * ahead.row_bytes + i % kProductWarps * ahead.part_bytes,
        ahead.bytes);
  }
}

// A warp's share of the leaves, one after the other: while one is multiplied, the next is under
// way. The first ones are under way before earlier kernels have ended.
template <class Tile, int kHalves, class Thread>
LOCKSTEP_DEVICE void multiply_leaves(Thread& t, const ProductArgs& args, const std::uint16_t* x,
                                     int rows, std::int64_t first_tile, int tiles,
                                     SharedTree<Thread>& tree, float* sums) {
  constexpr int kColumns = rows_of_tile(Tile::kFormat);
  const int leaves = args.plan.num_leaves;
  const int warps = t.count() / kWarp;
  const int begin = tiles * leaves * t.warp() / warps;
  const int end = tiles * leaves * (t.warp() + 1) / warps;
  LeafStages<Tile, Thread> stages(t, args);
  // A unit is a leaf of a tile row: where the next to be asked for and the next to be multiplied
  // are.
  int number = begin / tiles, tile = begin - number * tiles;
  int asked_number = number, asked_tile = tile;
  Leaf asked{};
  const auto request = [&](int stage, int unit) {
    if (unit < end) {
      if (unit == begin || asked_tile == 0) asked = t.load(args.plan.leaves + asked_number);
      stages.request(stage, first_tile + asked_tile, asked);
      if (++asked_tile == tiles) {
        asked_tile = 0;
        ++asked_number;
      }
    }
    t.commit_copies();
    return asked;
  };
  static_assert(kStages == 2);
  Leaf leaf = request(0, begin), next = request(1, begin + 1);
  if (begin < end && begin + 2 >= end) request_ahead(t, args.ahead);
  tree.fetch();
  t.wait_for_earlier();
  LeafOfX<kHalves> leaf_of_x;
  for (int unit = begin, stage = 0; unit < end; ++unit, stage = 1 - stage) {
    if (unit == begin || tile == 0) leaf_of_x.load(t, x, args.x_stride, rows, leaf);
    t.template wait_copies<1>();
    t.sync_warp();
    stages.multiply(stage, first_tile + tile, leaf, leaf_of_x, rows,
                    sums + (tile * leaves + number) * rows * kColumns);
    t.sync_warp();  // all lanes have read the stage before it is filled again
    if (++tile == tiles) {
      tile = 0;
      ++number;
    }
    leaf = next;
    next = request(stage, unit + 2);
    if (unit + 3 == end) request_ahead(t, args.ahead);
  }
}

// What SwiGLU makes of sums [tiles, leaves, rows, rows of a tile] that are added, of rows from
// `first_row` on. A block has whole turns of gate and up.
template <class Tile, class Thread>
LOCKSTEP_DEVICE void store_activated(Thread& t, const ProductArgs& args, const float* sums,
                                     std::int64_t first_tile, int tiles, std::int32_t first_row,
                                     int rows) {
  constexpr int kColumns = rows_of_tile(Tile::kFormat);
  const int tile_size = args.plan.num_leaves * rows * kColumns;
  const std::int64_t stride = args.weights.rows / 2, first = first_tile * kColumns / 2;
  const std::int64_t left = stride - first;
  const int columns = static_cast<int>(left < tiles * kColumns / 2 ? left : tiles * kColumns / 2);
  in_turns(t, rows, (columns + kWarp - 1) / kWarp, [&](int row, int of_columns) {
    const int column = of_columns * kWarp + t.lane();
    if (column >= columns) return;
    const auto sum = [&](int of_block) {
      return sums[of_block / kColumns * tile_size + row * kColumns + of_block % kColumns];
    };
    const int gate = column / kTurn * 2 * kTurn + column % kTurn;
    t.store(args.activated + (first_row + row) * stride + first + column,
            activated(sum(gate), sum(gate + kTurn)));
  });
}

// Tile rows [i * tiles, (i + 1) * tiles) of W by rows [j * rows, (j + 1) * rows) of x, for block
// i * (blocks of rows) + j: those that read the same weights are neighbours.
template <class Tile, int kHalves, class Thread>
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

  multiply_leaves<Tile, kHalves>(t, args, args.x + first_row * args.x_stride, rows, first_tile,
                                 tiles, tree, sums);
  t.sync();
  tree.add(sums, tiles, leaf_size);
  if (args.activated != nullptr) {
    return store_activated<Tile>(t, args, sums, first_tile, tiles, first_row, rows);
  }

  const int columns = tiles * kColumns;
  in_turns(t, rows, (columns + kWarp - 1) / kWarp, [&](int row, int of_columns) {
    const int column = of_columns * kWarp + t.lane();
    const std::int64_t n = first_tile * kColumns + column;
    if (column >= columns || n >= args.weights.rows) return;
    const float* sum =
        sums + column / kColumns * leaves * leaf_size + row * kColumns + column % kColumns;
    float* out = args.out + (first_row + row) * args.row_stride + n;
    for (int segment = 0; segment < args.plan.num_segments; ++segment) {
      t.store(out + segment * args.segment_stride, sum[tree.segment(segment) * leaf_size]);
    }
  });
}

// body(halves) with those of the shape as a compile-time number: tiles of eight rows of W are
// always multiplied by both.
template <class Tile, class Body>
void with_halves(const FewRows& shape, const Body& body) {
  if constexpr (Tile::kColumnTiles > 1) {
    if (shape.rows <= 8) return body(std::integral_constant<int, 1>());
  }
  body(std::integral_constant<int, 2>());
}

}  // namespace lockstep::kernels::cuda

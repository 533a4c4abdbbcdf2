// Products x * W^T of many rows by warpgroups: device code.
//
// The unit of a warpgroup (four warps) multiplies 64 rows of W, which are in registers, by rows of
// x in shared memory. A block takes chunks of up to four groups of a leaf, one after the other: W
// comes by copies that are some chunks ahead, x through registers, for the unit wants its pairs of
// columns in another order than W's lanes have them. What a leaf adds to is where it is in
// product_many.cuh; the products and the additions are those of product_few.cuh, and so are the
// bits.
#pragma once

#include <cmath>
#include <type_traits>

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/product.h"
#include "kernels/cuda/product_group.cuh"
#include "kernels/cuda/sum_stack.cuh"
#include "kernels/cuda/swiglu.cuh"
#include "kernels/cuda/tile_formats.cuh"

namespace lockstep::kernels::cuda {

// A warp's sums of 16 rows of W by kRows of x: of pack i, with lane() = 4 * g + q, rows g and g + 8
// of W by rows 8 * i + 2 * q and the next of x, as multiply_add() has them.
template <int kRows>
struct WideSums {
  static constexpr int kPacks = kRows / 8;
  Pack<float, 4> at[kPacks];
  LOCKSTEP_DEVICE Pack<float, 4>& pack(int i) { return at[i]; }
};

// The chunks of a segment, from its first to its last: up to kWideGroups groups of a leaf.
template <class Thread>
class ChunkCursor {
 public:
  LOCKSTEP_DEVICE ChunkCursor(Thread& t, const Leaf* leaves, int begin, int end)
      : t_(t), leaves_(leaves), next_(begin + 1), end_(end), leaf_(t.load(leaves + begin)) {}

  LOCKSTEP_DEVICE bool there() const { return next_ <= end_; }
  LOCKSTEP_DEVICE std::int32_t first_group() const { return leaf_.first_group + done_; }
  LOCKSTEP_DEVICE int groups() const {
    return leaf_.groups - done_ < kWideGroups ? leaf_.groups - done_ : kWideGroups;
  }
  LOCKSTEP_DEVICE bool begins_leaf() const { return done_ == 0; }
  LOCKSTEP_DEVICE bool ends_leaf() const { return done_ + kWideGroups >= leaf_.groups; }
  LOCKSTEP_DEVICE int merges() const { return leaf_.merges; }
  LOCKSTEP_DEVICE void advance() {
    done_ += kWideGroups;
    if (done_ < leaf_.groups) return;
    done_ = 0;
    if (next_ < end_) leaf_ = t_.load(leaves_ + next_);
    ++next_;
  }

 private:
  Thread& t_;
  const Leaf* leaves_;
  int next_, end_;
  Leaf leaf_;
  int done_ = 0;
};

// The tiles of a block's rows of W, chunk after chunk, in stages of shared memory: the tiles of a
// tile row next to each other.
template <class Tile, int kThreads, class Thread>
class WideTiles {
 public:
  LOCKSTEP_DEVICE WideTiles(Thread& t, const ProductArgs& args, const WideRowsMemory& memory,
                            std::int64_t first_tile)
      : t_(t),
        scales_(args.weights.scales),
        groups_(args.weights.groups),
        memory_(t.template shared<std::byte>(memory.weights(), memory.stages * memory.stage_bytes)),
        stages_(memory.stages),
        row_bytes_(std::int64_t{groups_} * kBytes),
        tile_row_(first_tile + t.warp() * 16 / kRows),
        last_tile_row_(divide_up(args.weights.rows, kRows) - 1),
        from_(args.weights.tiles + first_tile * row_bytes_),
        rows_(static_cast<int>(last_tile_row_ - first_tile) + 1) {}

  // Asks for a chunk, if it is there, in the stage after the one asked for before.
  LOCKSTEP_DEVICE void request(const ChunkCursor<Thread>& chunk) {
    if (chunk.there()) {
      auto* to = reinterpret_cast<Words*>(memory_ + requested_ * kStageBytes);
      const std::byte* from = from_ + std::int64_t{chunk.first_group()} * kBytes;
      const int words = chunk.groups() * (kBytes / 16);  // of a tile row
#pragma unroll
      for (int i = 0; i < kCopies; ++i) {
        const int at = i * kThreads + t_.index(), row = at / kWords, word = at % kWords;
        if (kCopies * kThreads != kTileRows * kWords && row >= kTileRows) break;
        t_.copy_async(to + at, reinterpret_cast<const Words*>(from + row * row_bytes_) + word,
                      word < words && row < rows_);
      }
      requested_ = requested_ + 1 < stages_ ? requested_ + 1 : 0;
    }
    t_.commit_copies();
  }

  // Waits for this thread's part of the oldest chunk that was asked for. REQUIRES: all stages but
  // one are asked for.
  LOCKSTEP_DEVICE void wait() {
    static_assert(kMostWideStages == 4);
    if (stages_ == 4) {
      t_.template wait_copies<2>();
    } else if (stages_ == 3) {
      t_.template wait_copies<1>();
    } else {
      t_.template wait_copies<0>();
    }
  }

  LOCKSTEP_DEVICE void next() { arrived_ = arrived_ + 1 < stages_ ? arrived_ + 1 : 0; }

  // Of the warp's 16 rows in group i of the chunk that has arrived, which is `group` of the matrix:
  // where the tile is, ...
  LOCKSTEP_DEVICE TilePlace place(int i, std::int32_t group) {
    const int tile = t_.warp() * 16 / kRows;
    return {memory_ + arrived_ * kStageBytes + (tile * kWideGroups + i) * kBytes,
            true,
            scales_,
            tile_row_ < last_tile_row_ ? tile_row_ : last_tile_row_,
            group,
            groups_};
  }
  // ... the number of its first tile of eight rows there, ...
  LOCKSTEP_DEVICE int first_column_tile() const {
    return kRows <= 16 ? 0 : t_.warp() % (kRows / 16) * 2;
  }
  // ... and what the unit takes of them.
  LOCKSTEP_DEVICE void rows(const TilePlace& place, RowsOfGroup& rows) {
    if constexpr (kRows == 8) {
      rows.set(reinterpret_cast<const Words*>(place.tile)[t_.lane()],
               reinterpret_cast<const Words*>(place.tile + kWideGroups * kBytes)[t_.lane()]);
    } else {
      Tile tile;
      tile.words = reinterpret_cast<const Words*>(place.tile)[t_.lane()];
      rows.set(tile.pairs(t_, first_column_tile()), tile.pairs(t_, first_column_tile() + 1));
    }
  }

 private:
  static constexpr int kBytes = bytes_of_tile(Tile::kFormat);
  static constexpr int kRows = rows_of_tile(Tile::kFormat);
  static constexpr int kTileRows = kThreads / kWarp * 16 / kRows;  // of a block
  static constexpr int kWords = kWideGroups * kBytes / 16;         // of a tile row
  static constexpr int kStageBytes = kTileRows * kWords * 16;
  static constexpr int kCopies = (kTileRows * kWords + kThreads - 1) / kThreads;

  Thread& t_;
  const float* scales_;
  const std::int32_t groups_;
  std::byte* memory_;
  const int stages_;
  const std::int64_t row_bytes_, tile_row_, last_tile_row_;
  const std::byte* from_;
  const int rows_;                   // that are there
  int requested_ = 0, arrived_ = 0;  // stages
};

// A block's rows of x, chunk after chunk: on their way in registers, then in one of two places of
// shared memory, group after group, as multiply_rows() wants them.
template <int kRows, int kThreads, class Thread>
class WideX {
 public:
  LOCKSTEP_DEVICE WideX(Thread& t, const ProductArgs& args, std::int64_t first_row)
      : t_(t),
        memory_(t.template shared<std::byte>(0, 2 * kChunkBytes)),
        row_(t.warp() / kWideGroups * 8 + t.lane() / 4),
        step_(kRowsAtOnce * args.x_stride),
        from_(args.x + (first_row + row_) * args.x_stride + 32 * (t.warp() % kWideGroups) +
              8 * (t.lane() % 4)),
        rows_(static_cast<int>(args.m - first_row) - row_) {}

  // Asks for a chunk, if it is there: zeros for rows that are not, and behind its last group. A
  // warp has the same group of every so manieth eight rows.
  LOCKSTEP_DEVICE void request(const ChunkCursor<Thread>& chunk) {
    if (!chunk.there()) return;
    const std::uint16_t* from = from_ + 32 * std::int64_t{chunk.first_group()};
    const int rows = t_.warp() % kWideGroups < chunk.groups() ? rows_ : 0;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      words_[i] = {};
      if (i * kRowsAtOnce < rows) words_[i] = t_.load(reinterpret_cast<const Words*>(from));
      from += step_;
    }
  }

  // Puts what was asked for into a place of the two. Word i of a lane is the pair of columns that
  // W's lanes with the same q have in their word i.
  LOCKSTEP_DEVICE void store(int place) {
    std::byte* to = memory_ + place * kChunkBytes + (t_.warp() % kWideGroups * kRows + row_) * 64;
#pragma unroll
    for (int word = 0; word < 4; ++word) {
      auto* at = reinterpret_cast<std::uint32_t*>(to + 16 * (word ^ row_ / 2 % 4)) + t_.lane() % 4;
#pragma unroll
      for (int i = 0; i < kLoads; ++i) at[i * kRowsAtOnce * 16] = words_[i][word];
    }
    t_.publish_rows();
  }

  LOCKSTEP_DEVICE const std::byte* group(int place, int i) const {
    return memory_ + place * kChunkBytes + i * kRows * 64;
  }

 private:
  static constexpr int kChunkBytes = kWideGroups * kRows * 64;
  static constexpr int kRowsAtOnce = kThreads / kWarp / kWideGroups * 8;
  static constexpr int kLoads = kRows / kRowsAtOnce;
  static_assert(kRowsAtOnce % 8 == 0 && kLoads * kRowsAtOnce == kRows);

  Thread& t_;
  std::byte* memory_;
  const int row_;  // this thread's first
  const std::int64_t step_;
  const std::uint16_t* from_;
  const int rows_;  // from this thread's first on
  Words words_[kLoads];
};

// A chunk by the warpgroups, added to `sums`, or in their place where it begins a leaf (said to the
// unit: zeros would take a tenth of a chunk's time, and behind a branch the unit would wait). The
// thread does `meanwhile` while they multiply.
template <class Tile, int kRows, class Tiles, class X, class Thread, class Work>
LOCKSTEP_DEVICE void multiply_chunk(Thread& t, const ChunkCursor<Thread>& chunk, Tiles& tiles,
                                    const X& x, int place, WideSums<kRows>& sums,
                                    const Work& meanwhile) {
  const int groups = chunk.groups();
  RowsOfGroup w[kWideGroups] = {};  // none is written to while the warpgroup may read it
  if constexpr (Tile::kScaled != Scaled::groups) {
    t.begin_rows(sums.at);
#pragma unroll
    for (int i = 0; i < kWideGroups; ++i) {
      if (i >= groups) break;
      tiles.rows(tiles.place(i, 0), w[i]);
      t.multiply_rows(sums.at, w[i].steps[0], x.group(place, i), 0, i > 0 || !chunk.begins_leaf());
      t.multiply_rows(sums.at, w[i].steps[1], x.group(place, i), 1);
    }
    t.commit_rows();
    meanwhile();
    t.finish_rows(sums.at);
#pragma unroll
    for (int i = 0; i < kWideGroups; ++i) {
      t.keep(w[i].steps[0]);
      t.keep(w[i].steps[1]);
    }
  } else {
    if (chunk.begins_leaf()) sums = {};
#pragma unroll
    for (int i = 0; i < kWideGroups; ++i) {
      if (i >= groups) break;
      tiles.rows(tiles.place(i, chunk.first_group() + i), w[i]);
      WideSums<kRows> dots = {};
      [[maybe_unused]] WideSums<kRows> sums_of_x = {};
      t.begin_rows(dots.at);
      t.multiply_rows(dots.at, w[i].steps[0], x.group(place, i), 0);
      t.multiply_rows(dots.at, w[i].steps[1], x.group(place, i), 1);
      if constexpr (Tile::kHasMinimum) {
        constexpr std::uint32_t kOnes = 0x3f803f80;
        const Words ones = {{kOnes, kOnes, kOnes, kOnes}};
        t.begin_rows(sums_of_x.at);
        t.multiply_rows(sums_of_x.at, ones, x.group(place, i), 0);
        t.multiply_rows(sums_of_x.at, ones, x.group(place, i), 1);
      }
      t.commit_rows();
      if (i == 0) meanwhile();
      t.finish_rows(dots.at);
      if constexpr (Tile::kHasMinimum) t.finish_rows(sums_of_x.at);
      t.keep(w[i].steps[0]);
      t.keep(w[i].steps[1]);
      const typename Tile::RowScales scales(t, tiles.place(i, chunk.first_group() + i),
                                            tiles.first_column_tile());
#pragma unroll
      for (int j = 0; j < WideSums<kRows>::kPacks; ++j) {
        add_scaled<Tile>(t, scales, dots.at[j], sums_of_x.at[j], sums.at[j]);
      }
    }
  }
}

// What SwiGLU makes of a warp's sums, whose first eight rows of W are gate's, the others up's:
// `row` of this lane's first, and its column.
template <int kRows, class Thread>
LOCKSTEP_DEVICE void store_activated(Thread& t, const ProductArgs& args,
                                     const WideSums<kRows>& sums, std::int64_t row,
                                     std::int64_t column) {
  const std::int64_t stride = args.weights.rows / 2;
#pragma unroll
  for (int i = 0; i < WideSums<kRows>::kPacks; ++i) {
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      const std::int64_t at_row = row + 8 * i + j;
      if (at_row >= args.m || column >= stride) continue;
      t.store(args.activated + at_row * stride + column,
              activated(sums.at[i][j], sums.at[i][j + 2]));
    }
  }
}

// Rows [i * columns, (i + 1) * columns) of W, 64 of them a warpgroup, by rows [j * kRows,
// (j + 1) * kRows) of x, of segment y, for block (i * (blocks of rows) + j, y): those that read the
// same weights are neighbours.
template <class Tile, int kRows, int kWarpgroups, class Thread>
LOCKSTEP_DEVICE void product_wide(Thread& t, const ProductArgs& args, const WideRows& shape) {
  const WideRowsMemory memory(args, shape);
  const int row_blocks = static_cast<int>(divide_up(args.m, kRows));
  const std::int64_t first_n =
      std::int64_t{t.block_x() / row_blocks} * kWarpgroups * kWarpgroupColumns;
  const std::int64_t first_row = std::int64_t{t.block_x() % row_blocks} * kRows;

  const SumPlan& plan = args.plan;
  const int segment = t.block_y();
  const int begin = t.load(plan.segments + segment);
  const int end =
      segment + 1 < plan.num_segments ? t.load(plan.segments + segment + 1) : plan.num_leaves;
  ChunkCursor<Thread> chunk(t, plan.leaves, begin, end);
  ChunkCursor<Thread> next_of_x = chunk, next_of_w = chunk;

  constexpr int kThreads = kWarpgroups * 4 * kWarp;
  WideTiles<Tile, kThreads, Thread> tiles(t, args, memory, first_n / rows_of_tile(Tile::kFormat));
  WideX<kRows, kThreads, Thread> x(t, args, first_row);
  SumStack<WideSums<kRows>, Thread> stack(
      t,
      t.template shared<Pack<float, 4>>(memory.sums(), memory.level_bytes() / 16 * memory.depth));
  for (int stage = 0; stage + 1 < shape.stages; ++stage) {
    tiles.request(next_of_w);
    next_of_w.advance();
  }
  t.wait_for_earlier();
  const auto request_x = [&] {
    x.request(next_of_x);
    next_of_x.advance();
  };
  request_x();
  x.store(0);
  request_x();

  WideSums<kRows> sums{};
  for (int place = 0; chunk.there(); chunk.advance(), place = 1 - place) {
    tiles.wait();
    t.sync();  // the chunk is there for all, and all are done with the one before
    multiply_chunk<Tile>(t, chunk, tiles, x, place, sums, [&] {
      tiles.request(next_of_w);
      next_of_w.advance();
      x.store(1 - place);
      request_x();
    });
    if (chunk.ends_leaf()) {
      if constexpr (Tile::kScaled == Scaled::rows) {
        const typename Tile::RowScales scales(t, tiles.place(0, 0), 0);
#pragma unroll
        for (int j = 0; j < WideSums<kRows>::kPacks; ++j) scale_rows<Tile>(t, scales, sums.at[j]);
      }
      stack.push(sums, chunk.merges());
    }
    tiles.next();
  }

  const std::int64_t row = first_row + t.lane() % 4 * 2;
  const std::int64_t first_of_warp = first_n + 16 * t.warp();
  if (args.activated != nullptr) {
    return store_activated(t, args, stack.top(), row, first_of_warp / 2 + t.lane() / 4);
  }
  const std::int64_t n = first_of_warp + t.lane() / 4;
  float* out = args.out + segment * args.segment_stride;
#pragma unroll
  for (int i = 0; i < WideSums<kRows>::kPacks; ++i) {
#pragma unroll
    for (int j = 0; j < 4; ++j) {
      const std::int64_t at_row = row + 8 * i + j % 2, at_n = n + j / 2 * 8;
      if (at_row >= args.m || at_n >= args.weights.rows) continue;
      t.store(out + at_row * args.row_stride + at_n, stack.top().at[i][j]);
    }
  }
}

// body(rows, warpgroups) with the shape's, as compile-time numbers: `kernel` is instantiated for
// the shapes that product_shape() gives.
template <class Tile, class Body>
void with_wide_shape(const WideRows& shape, const Body& body) {
  if constexpr (Tile::kScaled != Scaled::groups) {
    if (shape.rows == 128)
      return body(std::integral_constant<int, 128>(), std::integral_constant<int, 2>());
  }
  if (shape.warpgroups == 2)
    return body(std::integral_constant<int, 64>(), std::integral_constant<int, 2>());
  body(std::integral_constant<int, 64>(), std::integral_constant<int, 1>());
}

}  // namespace lockstep::kernels::cuda

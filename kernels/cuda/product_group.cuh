// A group of 32 columns of a product on a warp's matrix unit: device code. Which columns a step of
// the unit takes is of no matter as long as it takes the same of x and W: pairs 0 and 1 of every
// lane's eight columns are in the first step of a group, pairs 2 and 3 in the second.
#pragma once

#include <cmath>

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/tile_formats.cuh"

namespace lockstep::kernels::cuda {

// Sums of a warp: [16 * kRowTiles rows of x, 8 * kColumnTiles rows of W].
template <int kRowTiles, int kColumnTiles>
struct WarpSums {
  Pack<float, 4> at[kRowTiles][kColumnTiles] = {};
};

// Sixteen rows of a group as the unit takes them, of x or of W: a lane's words of either step.
struct RowsOfGroup {
  Words steps[2];

  // From its eight columns of row g and of row 8 + g.
  LOCKSTEP_DEVICE void set(const Words& upper, const Words& lower) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      steps[i] = {{upper[2 * i], lower[2 * i], upper[2 * i + 1], lower[2 * i + 1]}};
    }
  }
};

// Adds a group's two steps to `sums`.
template <class Thread>
LOCKSTEP_DEVICE void add_group(Thread& t, Pack<float, 4>& sums, const RowsOfGroup& x,
                               const Words& w) {
#pragma unroll
  for (int i = 0; i < 2; ++i) t.multiply_add(sums, x.steps[i], {{w[2 * i], w[2 * i + 1]}});
}

// One group of a leaf by one tile. Where groups have scales of their own, the group's sum is scaled
// and added; the sum of x that a minimum is multiplied with is a product by ones.
template <class Tile, int kRowTiles, class Thread>
LOCKSTEP_DEVICE void multiply_group(Thread& t, const Tile& tile,
                                    const typename Tile::Scales& scales,
                                    const RowsOfGroup (&x)[kRowTiles],
                                    WarpSums<kRowTiles, Tile::kColumnTiles>& sums) {
  if constexpr (Tile::kScaled != Scaled::groups) {
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
          sum = fmaf(dots[i], scales.of(t, c, i % 2), sum);
          if constexpr (Tile::kHasMinimum) {
            sum = fmaf(sums_of_x[r][i], scales.minimum(t, c, i % 2), sum);
          }
        }
      }
    }
  }
}

// Adds a pack of dot products of sixteen rows of W, each a group's, with their scales; `sums_of_x`:
// of the same rows of x in the group, where there is a minimum.
template <class Tile, class Thread>
LOCKSTEP_DEVICE void add_scaled(Thread& t, const typename Tile::RowScales& scales,
                                const Pack<float, 4>& dots, const Pack<float, 4>& sums_of_x,
                                Pack<float, 4>& sums) {
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    sums[i] = fmaf(dots[i], scales.of(t, i / 2), sums[i]);
    if constexpr (Tile::kHasMinimum) {
      sums[i] = fmaf(sums_of_x[i], scales.minimum(t, i / 2), sums[i]);
    }
  }
}

// Multiplies a pack of sums of sixteen rows of W by the rows' scales.
template <class Tile, class Thread>
LOCKSTEP_DEVICE void scale_rows(Thread& t, const typename Tile::RowScales& scales,
                                Pack<float, 4>& sums) {
#pragma unroll
  for (int i = 0; i < 4; ++i) sums[i] *= scales.of(t, i / 2);
}

// What multiply_group() does, of up to eight rows of x, as columns of the unit, by sixteen rows of
// W at once: the products and the sums are the same, with half the steps. Of sums.at[i], with
// lane() = 4 * g + q, rows g and 8 + g of tiles 2 * i and on by rows 2 * q and the next of x.
template <int kPairs>
struct TurnedSums {
  Pack<float, 4> at[kPairs] = {};
};

template <class Tile, class Thread>
LOCKSTEP_DEVICE void multiply_turned(Thread& t, const Tile& tile, const TilePlace& place,
                                     const Words& x, TurnedSums<Tile::kColumnTiles / 2>& sums) {
  [[maybe_unused]] Pack<float, 4> sums_of_x{};
  if constexpr (Tile::kHasMinimum) {
    constexpr std::uint32_t kOnes = 0x3f803f80;
    constexpr Words kRow = {{kOnes, kOnes, kOnes, kOnes}};
    add_group(t, sums_of_x, {{kRow, kRow}}, x);
  }
#pragma unroll
  for (int i = 0; i < Tile::kColumnTiles / 2; ++i) {
    RowsOfGroup w;
    w.set(tile.pairs(t, 2 * i), tile.pairs(t, 2 * i + 1));
    if constexpr (Tile::kScaled != Scaled::groups) {
      add_group(t, sums.at[i], w, x);
    } else {
      Pack<float, 4> dots{};
      add_group(t, dots, w, x);
      add_scaled<Tile>(t, typename Tile::RowScales(t, place, 2 * i), dots, sums_of_x, sums.at[i]);
    }
  }
}

// What is left to do for a leaf when its groups are summed: rows' scales.
template <class Tile, int kRowTiles, class Thread>
LOCKSTEP_DEVICE void finish_leaf(Thread& t, const TilePlace& place,
                                 WarpSums<kRowTiles, Tile::kColumnTiles>& sums) {
  if constexpr (Tile::kScaled == Scaled::rows) {
    const typename Tile::Scales scales(t, place);
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) {
#pragma unroll
      for (int c = 0; c < Tile::kColumnTiles; ++c) {
#pragma unroll
        for (int i = 0; i < 4; ++i) sums.at[r][c][i] *= scales.of(t, c, i % 2);
      }
    }
  }
}

template <class Tile, class Thread>
LOCKSTEP_DEVICE void finish_turned(Thread& t, const TilePlace& place,
                                   TurnedSums<Tile::kColumnTiles / 2>& sums) {
  if constexpr (Tile::kScaled == Scaled::rows) {
    scale_rows<Tile>(t, typename Tile::RowScales(t, place, 0), sums.at[0]);
  }
}

}  // namespace lockstep::kernels::cuda

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

// Sixteen rows of x in a group as the unit takes them: a lane's words of either step.
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

// The same of up to eight rows of x, as columns of the unit, by sixteen rows of W at once: the
// products and the sums are the same, with half the steps. Of sums.at[i], with lane() = 4 * g + q,
// rows g and 8 + g of tiles 2 * i and on by rows 2 * q and the next of x.
template <int kPairs>
struct TurnedSums {
  Pack<float, 4> at[kPairs] = {};
};

template <class Tile, class Thread>
LOCKSTEP_DEVICE void multiply_turned(Thread& t, const Tile& tile, const TilePlace& place,
                                     const Words& x, TurnedSums<Tile::kColumnTiles / 2>& sums) {
  const auto add = [&](Pack<float, 4>& to, const Words& upper, const Words& lower) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      t.multiply_add(to, {{upper[2 * i], lower[2 * i], upper[2 * i + 1], lower[2 * i + 1]}},
                     {{x[2 * i], x[2 * i + 1]}});
    }
  };
  [[maybe_unused]] Pack<float, 4> sums_of_x{};
  if constexpr (Tile::kHasMinimum) {
    constexpr std::uint32_t kOnes = 0x3f803f80;
    add(sums_of_x, {{kOnes, kOnes, kOnes, kOnes}}, {{kOnes, kOnes, kOnes, kOnes}});
  }
#pragma unroll
  for (int i = 0; i < Tile::kColumnTiles / 2; ++i) {
    const Words upper = tile.pairs(t, 2 * i), lower = tile.pairs(t, 2 * i + 1);
    if constexpr (Tile::kScaled != Scaled::groups) {
      add(sums.at[i], upper, lower);
    } else {
      Pack<float, 4> dots{};
      add(dots, upper, lower);
      const typename Tile::RowScales scales(t, place, 2 * i);
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        float& sum = sums.at[i][j];
        sum = fmaf(dots[j], scales.of(t, j / 2), sum);
        if constexpr (Tile::kHasMinimum) {
          sum = fmaf(sums_of_x[j], scales.minimum(t, j / 2), sum);
        }
      }
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
    const typename Tile::RowScales scales(t, place, 0);
#pragma unroll
    for (int i = 0; i < 4; ++i) sums.at[0][i] *= scales.of(t, i / 2);
  }
}

}  // namespace lockstep::kernels::cuda

// The formats of weight_tiles.h in registers: device code.
#pragma once

#include <cstddef>

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/weight_tiles.h"

namespace lockstep::kernels::cuda {

using Words = Pack<std::uint32_t, 4>;

// Where a tile and its scales are.
struct TilePlace {
  const std::byte* tile;  // in shared memory; zeros if it is not `there`
  bool there;
  const float* scales;  // of the matrix
  std::int64_t tile_row;
  std::int32_t group;
  std::int32_t groups;  // of a row of the matrix
};

// What of a stored number has a scale: a leaf's sum is scaled by its row's, a group's by its own.
enum class Scaled { nothing, rows, groups };

// A lane's 16 bytes of a tile. What all formats have:
//   kColumnTiles   tiles of 8 rows of W, which are 8 columns of the product
//   pairs(t, tile) a lane's eight columns of its row of such a tile, as four pairs of bf16 numbers:
//                  the stored numbers q, exactly
//   kScaled        if anything: Scales::of(t, tile, i) is the scale of row 2 * q + i of a tile,
//                  and kHasMinimum whether Scales has minimum(t, tile, i), too. Of a tile that is
//                  not `there` they are finite. REQUIRES: `tile_row` is one of the matrix.
//   RowScales      the same for row g of tiles `first` and `first` + 1: of(t, i), minimum(t, i)
struct Bf16Tile {
  static constexpr TileFormat kFormat = TileFormat::bf16;
  static constexpr int kColumnTiles = 1;
  static constexpr Scaled kScaled = Scaled::nothing;
  static constexpr bool kHasMinimum = false;
  Words words;
  template <class Thread>
  LOCKSTEP_DEVICE Words pairs(Thread&, int) const {
    return words;
  }
  struct Scales {  // none
    template <class Thread>
    LOCKSTEP_DEVICE Scales(Thread&, const TilePlace&) {}
  };
  struct RowScales {
    template <class Thread>
    LOCKSTEP_DEVICE RowScales(Thread&, const TilePlace&, int) {}
  };
};

struct Int8Tile {
  static constexpr int kColumnTiles = 2;
  Words words;
  // The lower seven bits count up from 128 in the fraction of a bf16 number between 128 and 256;
  // the sign, at the place of its exponent's lowest bit, makes the same 128 a 256.
  template <class Thread>
  LOCKSTEP_DEVICE Words pairs(Thread& t, int tile) const {
    const std::uint32_t a = words[2 * tile], b = words[2 * tile + 1];
    return {{pair(t, a), pair(t, a >> 8), pair(t, b), pair(t, b >> 8)}};
  }

 private:
  // Of the lower byte of either half.
  template <class Thread>
  LOCKSTEP_DEVICE static std::uint32_t pair(Thread& t, std::uint32_t bytes) {
    return t.subtract_pair((bytes & 0x007f007f) | 0x43004300, (bytes & 0x00800080) | 0x43004300);
  }
};

struct E4m3Tile {
  static constexpr int kColumnTiles = 2;
  Words words;
  // The bits of a number, as a bf16 number, are 2^120 times too small. NaN becomes 480.
  template <class Thread>
  LOCKSTEP_DEVICE Words pairs(Thread& t, int tile) const {
    const std::uint32_t a = words[2 * tile], b = words[2 * tile + 1];
    return {
        {pair(t, a << 8, a << 4), pair(t, a, a >> 4), pair(t, b << 8, b << 4), pair(t, b, b >> 4)}};
  }

 private:
  // Of signs and of all else, where they are in a bf16 number.
  template <class Thread>
  LOCKSTEP_DEVICE static std::uint32_t pair(Thread& t, std::uint32_t signs, std::uint32_t rest) {
    constexpr std::uint32_t kTwoTo120 = 0x7b807b80;
    return t.multiply_pair((signs & 0x80008000) | (rest & 0x07f007f0), kTwoTo120);
  }
};

struct Int4Tile {
  static constexpr TileFormat kFormat = TileFormat::int4_group;
  static constexpr int kColumnTiles = 4;
  static constexpr Scaled kScaled = Scaled::groups;
  static constexpr bool kHasMinimum = true;
  Words words;
  // 128 + q in the fraction of a bf16 number.
  template <class Thread>
  LOCKSTEP_DEVICE Words pairs(Thread& t, int tile) const {
    Words pairs;
    for (int i = 0; i < 4; ++i) {
      const std::uint32_t q = words[tile] >> 4 * i & 0x000f000f;
      pairs[i] = t.subtract_pair(q | 0x43004300, 0x43004300);
    }
    return pairs;
  }
  class Scales {
   public:
    template <class Thread>
    LOCKSTEP_DEVICE Scales(Thread& t, const TilePlace& place) {
      const auto* first = reinterpret_cast<const Words*>(place.tile + 512) + t.lane() % 4 * 2;
      words_[0] = first[0];
      words_[1] = first[1];
    }
    template <class Thread>
    LOCKSTEP_DEVICE float of(Thread& t, int tile, int i) const {
      return t.from_half(word(tile, i));
    }
    template <class Thread>
    LOCKSTEP_DEVICE float minimum(Thread& t, int tile, int i) const {
      return t.from_half(word(tile, i) >> 16);
    }

   private:
    LOCKSTEP_DEVICE std::uint32_t word(int tile, int i) const {
      return words_[tile / 2][tile % 2 * 2 + i];
    }
    Words words_[2];
  };
  class RowScales {
   public:
    template <class Thread>
    LOCKSTEP_DEVICE RowScales(Thread& t, const TilePlace& place, int first) {
      const auto* words = reinterpret_cast<const std::uint32_t*>(place.tile + 512);
      const int g = t.lane() / 4;
#pragma unroll
      for (int i = 0; i < 2; ++i) words_[i] = words[g / 2 * 8 + (first + i) * 2 + g % 2];
    }
    template <class Thread>
    LOCKSTEP_DEVICE float of(Thread& t, int i) const {
      return t.from_half(words_[i]);
    }
    template <class Thread>
    LOCKSTEP_DEVICE float minimum(Thread& t, int i) const {
      return t.from_half(words_[i] >> 16);
    }

   private:
    std::uint32_t words_[2];
  };
};

// A scale for each group of each row.
struct Int8GroupTile : Int8Tile {
  static constexpr TileFormat kFormat = TileFormat::int8_group;
  static constexpr Scaled kScaled = Scaled::groups;
  static constexpr bool kHasMinimum = false;
  class Scales {
   public:
    template <class Thread>
    LOCKSTEP_DEVICE Scales(Thread& t, const TilePlace& place)
        : words_(reinterpret_cast<const Pack<std::uint32_t, 2>*>(place.tile + 512)[t.lane() % 4]) {}
    template <class Thread>
    LOCKSTEP_DEVICE float of(Thread& t, int tile, int i) const {
      return t.from_half(words_[tile] >> 16 * i);
    }

   private:
    Pack<std::uint32_t, 2> words_;
  };
  class RowScales {
   public:
    template <class Thread>
    LOCKSTEP_DEVICE RowScales(Thread& t, const TilePlace& place, int) {
      const auto* halves = reinterpret_cast<const std::uint16_t*>(place.tile + 512);
      const int g = t.lane() / 4;
#pragma unroll
      for (int i = 0; i < 2; ++i) halves_[i] = halves[g / 2 * 4 + i * 2 + g % 2];
    }
    template <class Thread>
    LOCKSTEP_DEVICE float of(Thread& t, int i) const {
      return t.from_half(halves_[i]);
    }

   private:
    std::uint16_t halves_[2];
  };
};

// A scale for each row.
template <class Tile, TileFormat format>
struct ChannelTile : Tile {
  static constexpr TileFormat kFormat = format;
  static constexpr Scaled kScaled = Scaled::rows;
  static constexpr bool kHasMinimum = false;
  class Scales {
   public:
    template <class Thread>
    LOCKSTEP_DEVICE Scales(Thread& t, const TilePlace& place) {
      const float* first = place.scales + 16 * place.tile_row + t.lane() % 4 * 2;
      for (int tile = 0; tile < 2; ++tile) scales_[tile] = t.load(as_pack<2>(first + 8 * tile));
    }
    template <class Thread>
    LOCKSTEP_DEVICE float of(Thread&, int tile, int i) const {
      return scales_[tile][i];
    }

   private:
    Pack<float, 2> scales_[2];
  };
  class RowScales {
   public:
    template <class Thread>
    LOCKSTEP_DEVICE RowScales(Thread& t, const TilePlace& place, int) {
      for (int i = 0; i < 2; ++i) {
        scales_[i] = t.load(place.scales + 16 * place.tile_row + 8 * i + t.lane() / 4);
      }
    }
    template <class Thread>
    LOCKSTEP_DEVICE float of(Thread&, int i) const {
      return scales_[i];
    }

   private:
    float scales_[2];
  };
};
using Int8ChannelTile = ChannelTile<Int8Tile, TileFormat::int8_channel>;
using E4m3ChannelTile = ChannelTile<E4m3Tile, TileFormat::e4m3_channel>;

// A scale for each group of eight rows.
struct E4m3BlockTile : E4m3Tile {
  static constexpr TileFormat kFormat = TileFormat::e4m3_block;
  static constexpr Scaled kScaled = Scaled::groups;
  static constexpr bool kHasMinimum = false;
  class Scales {
   public:
    template <class Thread>
    LOCKSTEP_DEVICE Scales(Thread& t, const TilePlace& place)
        : scales_(place.there ? t.load(as_pack<2>(place.scales) + place.tile_row * place.groups +
                                       place.group)
                              : Pack<float, 2>{}) {}
    template <class Thread>
    LOCKSTEP_DEVICE float of(Thread&, int tile, int) const {
      return scales_[tile];
    }
    template <class Thread>
    LOCKSTEP_DEVICE float of(Thread&, int tile) const {
      return scales_[tile];
    }

   private:
    Pack<float, 2> scales_;
  };
  struct RowScales : Scales {
    template <class Thread>
    LOCKSTEP_DEVICE RowScales(Thread& t, const TilePlace& place, int) : Scales(t, place) {}
  };
};

// body(tile) with an empty tile of a format: what is instantiated for all of them.
template <class Body>
void with_tile(TileFormat format, const Body& body) {
  switch (format) {
    case TileFormat::bf16: return body(Bf16Tile{});
    case TileFormat::int8_channel: return body(Int8ChannelTile{});
    case TileFormat::int8_group: return body(Int8GroupTile{});
    case TileFormat::e4m3_channel: return body(E4m3ChannelTile{});
    case TileFormat::e4m3_block: return body(E4m3BlockTile{});
    case TileFormat::int4_group: return body(Int4Tile{});
  }
}

}  // namespace lockstep::kernels::cuda

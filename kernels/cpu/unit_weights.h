// Packed weights in rows (PackedLayout) as tiles of a matrix unit, in bf16. A quantized weight is
// scale * count + minimum, one fused operation in f32, cut to its upper half: that costs nothing,
// where rounding to the nearest bf16 costs an addition. Scale and minimum are grown() before, so
// that weights do not shrink. Include only where AVX-512 F, BW, DQ, VL, VBMI and BF16 are enabled.
//
// A format W of weights:
//   W::kGroupBytes   of a row block's group of 32 columns
//   W::kWidens       whether they need widen(); else a group is a tile as it lies
//   W::kTokenTiles   tiles of tokens that pass by them together, at most: widening is paid for once
//                    in a pass, and where there is none, less of both operands is read if two tiles
//                    of each meet
//   W::widen(group, tile, between)   calls between<0>() to between<3>() after a quarter of the tile
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "kernels/cpu/for_each_index.h"
#include "kernels/cpu/matrix_unit.h"
#include "kernels/cpu/vnni_dot.h"

namespace lockstep::kernels::cpu {

struct UnitBf16 {
  static constexpr std::int64_t kGroupBytes = kUnitTileBytes;
  static constexpr bool kWidens = false;
  static constexpr int kTokenTiles = 2;
};

// Larger by what a cut to bf16 takes on average: half a step, 2^-8, of mantissas in [1, 2) whose
// mean is 1 / ln 2 (numbers of all sizes have logarithms that lie evenly: Benford's law). An error
// is 0.61 of half a step then, in root mean square, where rounding to the nearest leaves 0.58.
inline __m512 grown(__m512 values) {
  constexpr float kGrowth = 1 + 0.693147F / 256;
  return _mm512_mul_ps(values, _mm512_set1_ps(kGrowth));
}

// To be loaded one by one into whole registers: the compiler would rather shuffle them out of one,
// and shuffles are what there is most of here.
class ScalesInMemory {
 public:
  explicit ScalesInMemory(__m512 scales) {
    _mm512_store_ps(scales_, scales);
    asm("" : "+m"(scales_));
  }
  __m512 operator[](int i) const { return _mm512_set1_ps(scales_[i]); }

 private:
  alignas(64) float scales_[16];
};

// The sixteen values that nibbles may mean, by row of a group.
class Q4Values {
 public:
  static constexpr std::int64_t kGroupBytes = 320;
  explicit Q4Values(const std::byte* group)
      : scales_(grown(load_halves(group + 256))), minima_(grown(load_halves(group + 288))) {}
  __m512 operator[](int row) const {
    const __m512 counts = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    return _mm512_fmadd_ps(scales_[row], counts, minima_[row]);
  }

 private:
  ScalesInMemory scales_, minima_;
};

class ScaledQ4Values {
 public:
  static constexpr std::int64_t kGroupBytes = 288;
  explicit ScaledQ4Values(const std::byte* group) : scales_(grown(load_halves(group + 256))) {}
  __m512 operator[](int row) const {
    const __m512 counts = _mm512_setr_ps(-8, -7, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 7);
    return _mm512_mul_ps(scales_[row], counts);
  }

 private:
  ScalesInMemory scales_;
};

template <class Values>
struct UnitFourBit {
  static constexpr std::int64_t kGroupBytes = Values::kGroupBytes;
  static constexpr bool kWidens = true;
  static constexpr int kTokenTiles = 4;

  // Of every row its sixteen values, then each nibble's, by one lookup of 64 bytes. The operations
  // keep both of a core's ports for vectors equally busy: one of them alone shuffles, the other
  // alone multiplies while the unit does.
  template <class Between>
  static void widen(const std::byte* group, std::byte* tile, const Between& between) {
    const Values values(group);
    for_each_index<4>([&]<int kFour>() {
      const __m512i nibbles = load_bytes(group + 64 * kFour);
      for_each_index<4>([&]<int I>() {
        constexpr int kRow = 4 * kFour + I;
        _mm512_store_si512(
            tile + 64 * kRow,
            _mm512_permutexvar_epi8(upper_bytes<I>(nibbles), _mm512_castps_si512(values[kRow])));
      });
      between.template operator()<kFour>();
    });
  }

 private:
  // Of words of four nibbles, where the upper two bytes of the I-th nibble's number lie among
  // sixteen numbers of four bytes.
  template <int I>
  static __m512i upper_bytes(__m512i nibbles) {
    const __m512i places =
        _mm512_multishift_epi64_epi8(_mm512_load_si512(kPlaces[std::size_t{I}].data()), nibbles);
    constexpr int kSecondOr = 0xea;  // (a & b) | c
    return _mm512_ternarylogic_epi32(places, _mm512_set1_epi8(~3), _mm512_set1_epi16(0x0302),
                                     kSecondOr);
  }

  // By I: of every byte of a row, the first of the eight bits of its quadword that say where: the
  // I-th nibble of its word becomes the number's place, two bits further up.
  alignas(64) static constexpr auto kPlaces = [] {
    std::array<std::array<std::uint8_t, 64>, 4> first_bits{};
    for (std::size_t i = 0; i < 4; ++i) {
      for (std::size_t byte = 0; byte < 64; ++byte) {
        first_bits[i][byte] = static_cast<std::uint8_t>((byte % 8 / 2 * 16 + i * 4 + 62) % 64);
      }
    }
    return first_bits;
  }();
};

using UnitQ4 = UnitFourBit<Q4Values>;
using UnitScaledQ4 = UnitFourBit<ScaledQ4Values>;

// Rows of 32 numbers, cut, from their values at even and odd columns.
inline void store_columns(__m512 even, __m512 odd, std::byte* row) {
  _mm512_store_si512(
      row, _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(_mm512_castps_si512(even), 16),
                                   _mm512_castps_si512(odd)));
}

struct UnitQ8 {
  static constexpr std::int64_t kGroupBytes = 544;
  static constexpr bool kWidens = true;
  static constexpr int kTokenTiles = 4;

  template <class Between>
  static void widen(const std::byte* group, std::byte* tile, const Between& between) {
    const ScalesInMemory scales(grown(load_halves(group + 512)));
    for_each_index<4>([&]<int kFour>() {
#pragma GCC unroll 4
      for (int row = 4 * kFour; row < 4 * kFour + 4; ++row) {
        const std::byte* bytes = group + 32 * row;
        store_columns(product(bytes, scales[row]), product(bytes + 16, scales[row]),
                      tile + 64 * row);
      }
      between.template operator()<kFour>();
    });
  }

 private:
  static __m512 product(const std::byte* bytes, __m512 scale) {
    return _mm512_mul_ps(Avx512Simd::load_i8(reinterpret_cast<const std::int8_t*>(bytes)), scale);
  }
};

struct UnitF8 {
  static constexpr std::int64_t kGroupBytes = 576;
  static constexpr bool kWidens = true;
  static constexpr int kTokenTiles = 4;

  template <class Between>
  static void widen(const std::byte* group, std::byte* tile, const Between& between) {
    using S = Avx512Simd;
    const ScalesInMemory scales(grown(S::load(reinterpret_cast<const float*>(group + 512))));
    for_each_index<4>([&]<int kFour>() {
#pragma GCC unroll 4
      for (int row = 4 * kFour; row < 4 * kFour + 4; ++row) {
        const S::Pairs pairs = S::load_e4m3_pairs(group + 32 * row);
        store_columns(S::mul(S::firsts(pairs), scales[row]), S::mul(S::seconds(pairs), scales[row]),
                      tile + 64 * row);
      }
      between.template operator()<kFour>();
    });
  }
};

}  // namespace lockstep::kernels::cpu

// Packed weights in rows (PackedLayout) as tiles of a matrix unit, in bf16. A quantized weight is
// scale * count + minimum, one fused operation in f32, rounded to the nearest bf16, halves away
// from zero. Include only where AVX-512 F, BW, DQ, VL, VBMI and BF16 are enabled.
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

// The bits of sixteen numbers with their upper halves rounded.
inline __m512i rounded_upper_halves(__m512 values) {
  return _mm512_add_epi32(_mm512_castps_si512(values), _mm512_set1_epi32(0x8000));
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

struct UnitQ4 {
  static constexpr std::int64_t kGroupBytes = 320;
  static constexpr bool kWidens = true;
  static constexpr int kTokenTiles = 4;

  // Of every row, the sixteen values that its nibbles may mean; then each nibble's, by one lookup
  // for all 32. It looks at five bits, of which the fifth is the next nibble's: so the table is
  // there twice.
  template <class Between>
  static void widen(const std::byte* group, std::byte* tile, const Between& between) {
    const ScalesInMemory scales(load_halves(group + 256)), minima(load_halves(group + 288));
    const __m512 counts = _mm512_setr_ps(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
    const __m512i upper_halves = _mm512_load_si512(kUpperHalves.data());
    for_each_index<4>([&]<int kFour>() {
      const __m512i nibbles = load_bytes(group + 64 * kFour);
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const int row = 4 * kFour + i;
        const __m512 values = _mm512_fmadd_ps(scales[row], counts, minima[row]);
        const __m512i table = _mm512_permutexvar_epi8(upper_halves, rounded_upper_halves(values));
        const __m512i places = i == 0 ? nibbles : _mm512_srli_epi16(nibbles, 4 * i);
        _mm512_store_si512(tile + 64 * row, _mm512_permutexvar_epi16(places, table));
      }
      between.template operator()<kFour>();
    });
  }

 private:
  // Bytes 2 and 3 of sixteen words, twice.
  alignas(64) static constexpr std::array<std::uint8_t, 64> kUpperHalves = [] {
    std::array<std::uint8_t, 64> bytes{};
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      bytes[i] = static_cast<std::uint8_t>(i / 2 % 16 * 4 + 2 + i % 2);
    }
    return bytes;
  }();
};

// Rows of 32 numbers from their values at even and odd columns, as rounded_upper_halves() leaves
// them.
inline void store_columns(__m512i even, __m512i odd, std::byte* row) {
  _mm512_store_si512(row, _mm512_mask_blend_epi16(0xaaaaaaaa, _mm512_srli_epi32(even, 16), odd));
}

struct UnitQ8 {
  static constexpr std::int64_t kGroupBytes = 544;
  static constexpr bool kWidens = true;
  static constexpr int kTokenTiles = 4;

  template <class Between>
  static void widen(const std::byte* group, std::byte* tile, const Between& between) {
    const ScalesInMemory scales(load_halves(group + 512));
    for_each_index<4>([&]<int kFour>() {
#pragma GCC unroll 4
      for (int row = 4 * kFour; row < 4 * kFour + 4; ++row) {
        const std::byte* bytes = group + 32 * row;
        store_columns(rounded(bytes, scales[row]), rounded(bytes + 16, scales[row]),
                      tile + 64 * row);
      }
      between.template operator()<kFour>();
    });
  }

 private:
  static __m512i rounded(const std::byte* bytes, __m512 scale) {
    const auto* from = reinterpret_cast<const std::int8_t*>(bytes);
    return rounded_upper_halves(_mm512_mul_ps(Avx512Simd::load_i8(from), scale));
  }
};

struct UnitF8 {
  static constexpr std::int64_t kGroupBytes = 576;
  static constexpr bool kWidens = true;
  static constexpr int kTokenTiles = 4;

  template <class Between>
  static void widen(const std::byte* group, std::byte* tile, const Between& between) {
    using S = Avx512Simd;
    const ScalesInMemory scales(S::load(reinterpret_cast<const float*>(group + 512)));
    for_each_index<4>([&]<int kFour>() {
#pragma GCC unroll 4
      for (int row = 4 * kFour; row < 4 * kFour + 4; ++row) {
        const S::Pairs pairs = S::load_e4m3_pairs(group + 32 * row);
        store_columns(rounded_upper_halves(S::mul(S::firsts(pairs), scales[row])),
                      rounded_upper_halves(S::mul(S::seconds(pairs), scales[row])),
                      tile + 64 * row);
      }
      between.template operator()<kFour>();
    });
  }
};

}  // namespace lockstep::kernels::cpu

// Sixteen floats in one 512-bit register. Include only where AVX-512 F, BW, DQ and VL are enabled.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/fp8.h"

namespace lockstep::kernels::cpu {

struct Avx512Simd {
  using V = __m512;
  using Ints = __m512i;
  using Pairs = __m512i;  // sixteen pairs of bf16
  static constexpr int kTileRows = 16;
  static constexpr int kChains = 4;
  static constexpr std::size_t kStreams = 1;
  static constexpr int kTileQueries = 4;
  static constexpr int kScoreTiles = 4;
  static constexpr int kValueRegisters = 4;
  static V zero() { return _mm512_setzero_ps(); }
  static V set(float x) { return _mm512_set1_ps(x); }
  static V load(const float* p) { return _mm512_loadu_ps(p); }
  static float first(V a) { return _mm512_cvtss_f32(a); }
  static void store(float* p, V a) { _mm512_storeu_ps(p, a); }
  static V load_bf16(const std::uint16_t* p) {
    const __m256i halves = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(halves), 16));
  }
  static void store_bf16(std::uint16_t* p, V a) {
    const __m512i bits = _mm512_castps_si512(a);
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i rounded = _mm512_srli_epi32(
        _mm512_add_epi32(bits, _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff))), 16);
    const __m512i quiet = _mm512_or_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x40));
    const __m512i numbers =
        _mm512_mask_mov_epi32(rounded, _mm512_cmp_ps_mask(a, a, _CMP_UNORD_Q), quiet);
    const __mmask16 small = _mm512_testn_epi32_mask(bits, _mm512_set1_epi32(0x7f800000));
    const __m512i sign = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(0x8000));
    const __m512i words = _mm512_mask_mov_epi32(numbers, small, sign);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p), _mm512_cvtepi32_epi16(words));
  }
  static V load_f16(const std::uint16_t* p) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
  }
  static Pairs load_pairs(const std::uint16_t* p) { return _mm512_loadu_si512(p); }
  static Pairs set_pair(const std::uint16_t* p) {
    return _mm512_set1_epi32(*reinterpret_cast<const std::int32_t*>(p));
  }
  static Pairs pair_up(V first, V second) {
    return _mm512_or_si512(
        _mm512_srli_epi32(_mm512_castps_si512(first), 16),
        _mm512_and_si512(_mm512_castps_si512(second), _mm512_set1_epi32(-0x10000)));
  }
  static Pairs first_of_pairs(Pairs a) { return _mm512_and_si512(a, _mm512_set1_epi32(0xffff)); }
  static V firsts(Pairs a) { return _mm512_castsi512_ps(_mm512_slli_epi32(a, 16)); }
  static V seconds(Pairs a) {
    return _mm512_castsi512_ps(_mm512_and_si512(a, _mm512_set1_epi32(-0x10000)));
  }
  static V dot(V sums, Pairs a, Pairs b) {
    sums = _mm512_fmadd_ps(seconds(a), seconds(b), sums);
    return _mm512_fmadd_ps(firsts(a), firsts(b), sums);
  }
  static V unsigned_bits(const std::byte* p, int shift, int mask) {
    const __m512i words = _mm512_srl_epi32(_mm512_loadu_si512(p), _mm_cvtsi32_si128(shift));
    return _mm512_cvtepi32_ps(_mm512_and_si512(words, _mm512_set1_epi32(mask)));
  }
  static V signed_byte(const std::byte* p, int index) {
    const __m512i top = _mm512_sll_epi32(_mm512_loadu_si512(p), _mm_cvtsi32_si128(24 - 8 * index));
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(top, 24));
  }
  static Pairs load_e4m3_pairs(const std::byte* p) {
    const __m512i bytes =
        _mm512_cvtepu8_epi16(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
    const __m512i magnitude = _mm512_and_si512(bytes, _mm512_set1_epi16(0x7f));
    const __m512i normal =
        _mm512_add_epi16(_mm512_slli_epi16(magnitude, 4), _mm512_set1_epi16(kE4m3ExponentBf16));
    const __m512i table = _mm512_castsi128_si512(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(kE4m3SubnormalBf16)));
    const __mmask32 subnormal = _mm512_cmplt_epi16_mask(magnitude, _mm512_set1_epi16(8));
    const __m512i absolute = _mm512_mask_permutexvar_epi16(normal, subnormal, magnitude, table);
    const __m512i sign = _mm512_and_si512(_mm512_slli_epi16(bytes, 8), _mm512_set1_epi16(-0x8000));
    return _mm512_or_si512(absolute, sign);
  }
  static V floats(Ints a) { return _mm512_cvtepi32_ps(a); }
  static V add(V a, V b) { return _mm512_add_ps(a, b); }
  static V sub(V a, V b) { return _mm512_sub_ps(a, b); }
  static V mul(V a, V b) { return _mm512_mul_ps(a, b); }
  static V div(V a, V b) { return _mm512_div_ps(a, b); }
  static V fma(V a, V b, V c) { return _mm512_fmadd_ps(a, b, c); }
  static V max(V a, V b) { return _mm512_max_ps(a, b); }
  static V min(V a, V b) { return _mm512_min_ps(a, b); }
  static V abs(V a) { return _mm512_abs_ps(a); }
  static V select_negative(V sign, V a, V b) {
    return _mm512_mask_mov_ps(b, _mm512_cmp_ps_mask(sign, zero(), _CMP_LT_OQ), a);
  }
  static float sum(V a) {
    const __m256 four = _mm256_add_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 two = _mm_add_ps(_mm256_castps256_ps128(four), _mm256_extractf128_ps(four, 1));
    const __m128 one = _mm_add_ps(two, _mm_movehl_ps(two, two));
    return _mm_cvtss_f32(_mm_add_ss(one, _mm_movehdup_ps(one)));
  }
  static float maximum(V a) {
    const __m256 four = _mm256_max_ps(_mm512_castps512_ps256(a), _mm512_extractf32x8_ps(a, 1));
    const __m128 two = _mm_max_ps(_mm256_castps256_ps128(four), _mm256_extractf128_ps(four, 1));
    const __m128 one = _mm_max_ps(two, _mm_movehl_ps(two, two));
    return _mm_cvtss_f32(_mm_max_ss(one, _mm_movehdup_ps(one)));
  }
  // The maximum, or the sum, of each of sixteen vectors.
  static V maxima(const V (&of)[16]) {
    return across(of, [](V a, V b) { return _mm512_max_ps(a, b); });
  }
  static V sums(const V (&of)[16]) {
    return across(of, [](V a, V b) { return _mm512_add_ps(a, b); });
  }
  static V times_pow2(V a, V shifted) {
    return _mm512_castsi512_ps(_mm512_add_epi32(
        _mm512_castps_si512(a), _mm512_slli_epi32(_mm512_castps_si512(shifted), 23)));
  }
  static void store_i8(std::int8_t* p, V a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), _mm512_cvtsepi32_epi8(_mm512_cvttps_epi32(a)));
  }
  static V load_i8(const std::int8_t* p) {
    return _mm512_cvtepi32_ps(
        _mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
  }
  static void store_bf16_of_i8(std::uint16_t* p, const std::int8_t* bytes) {
    for (int i = 0; i < 32; i += 16) {
      const __m512i words = _mm512_srli_epi32(_mm512_castps_si512(load_i8(bytes + i)), 16);
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + i), _mm512_cvtepi32_epi16(words));
    }
  }

 private:
  // Vector i's elements, combined, in place i: each step halves the vectors.
  template <class Combine>
  static V across(const V (&of)[16], const Combine& combine) {
    V pairs[8], fours[4];
    for (int i = 0; i < 8; ++i) {
      const V a = of[2 * i], b = of[2 * i + 1];
      pairs[i] = combine(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
    }
    for (int i = 0; i < 4; ++i) {
      const __m512d a = _mm512_castps_pd(pairs[2 * i]), b = _mm512_castps_pd(pairs[2 * i + 1]);
      fours[i] = combine(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)),
                         _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
    // Of each quarter, vectors 4 * i to 4 * i + 3: now the quarters of one vector beside each
    // other.
    const auto quarters = [&](V a, V b) {
      return combine(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd));
    };
    return quarters(quarters(fours[0], fours[1]), quarters(fours[2], fours[3]));
  }
};

}  // namespace lockstep::kernels::cpu

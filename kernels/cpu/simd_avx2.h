// Sixteen floats in two 256-bit registers. Include only where AVX2, FMA and F16C are enabled.
#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>

#include "kernels/fp8.h"

namespace lockstep::kernels::cpu {

struct Avx2Simd {
  struct V {
    __m256 lo, hi;
  };
  struct Ints {
    __m256i lo, hi;
  };
  struct Pairs {  // sixteen pairs of bf16
    __m256i lo, hi;
  };
  static constexpr int kTileRows = 4;
  static constexpr int kChains = 1;
  static constexpr std::size_t kStreams = 1;
  static constexpr int kTileQueries = 2;
  static constexpr int kScoreTiles = 1;
  static constexpr int kValueRegisters = 2;
  static V zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
  static V set(float x) { return {_mm256_set1_ps(x), _mm256_set1_ps(x)}; }
  static V load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
  static float first(V a) { return _mm256_cvtss_f32(a.lo); }
  static void store(float* p, V a) {
    _mm256_storeu_ps(p, a.lo);
    _mm256_storeu_ps(p + 8, a.hi);
  }
  static V load_bf16(const std::uint16_t* p) { return {widen_bf16(p), widen_bf16(p + 8)}; }
  static void store_bf16(std::uint16_t* p, V a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p), narrow_bf16(a.lo));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(p + 8), narrow_bf16(a.hi));
  }
  static V load_f16(const std::uint16_t* p) {
    const auto* halves = reinterpret_cast<const __m128i*>(p);
    return {_mm256_cvtph_ps(_mm_loadu_si128(halves)), _mm256_cvtph_ps(_mm_loadu_si128(halves + 1))};
  }
  static Pairs load_pairs(const std::uint16_t* p) {
    const auto* words = reinterpret_cast<const __m256i*>(p);
    return {_mm256_loadu_si256(words), _mm256_loadu_si256(words + 1)};
  }
  static Pairs set_pair(const std::uint16_t* p) {
    const __m256i pair = _mm256_set1_epi32(*reinterpret_cast<const std::int32_t*>(p));
    return {pair, pair};
  }
  static Pairs pair_up(V first, V second) {
    return {pair_up_half(first.lo, second.lo), pair_up_half(first.hi, second.hi)};
  }
  static Pairs first_of_pairs(Pairs a) {
    const __m256i first = _mm256_set1_epi32(0xffff);
    return {_mm256_and_si256(a.lo, first), _mm256_and_si256(a.hi, first)};
  }
  static V firsts(Pairs a) {
    return {_mm256_castsi256_ps(_mm256_slli_epi32(a.lo, 16)),
            _mm256_castsi256_ps(_mm256_slli_epi32(a.hi, 16))};
  }
  static V seconds(Pairs a) {
    const __m256i second = _mm256_set1_epi32(-0x10000);
    return {_mm256_castsi256_ps(_mm256_and_si256(a.lo, second)),
            _mm256_castsi256_ps(_mm256_and_si256(a.hi, second))};
  }
  static V dot(V sums, Pairs a, Pairs b) {
    return fma(firsts(a), firsts(b), fma(seconds(a), seconds(b), sums));
  }
  static V unsigned_bits(const std::byte* p, int shift, int mask) {
    return {unsigned_half(p, shift, mask), unsigned_half(p + 32, shift, mask)};
  }
  static V signed_byte(const std::byte* p, int index) {
    return {signed_half(p, index), signed_half(p + 32, index)};
  }
  static Pairs load_e4m3_pairs(const std::byte* p) { return {widen_e4m3(p), widen_e4m3(p + 16)}; }
  static V floats(const Ints& a) { return {_mm256_cvtepi32_ps(a.lo), _mm256_cvtepi32_ps(a.hi)}; }
  static Ints multiply_add(const Ints& a, int factor, const Ints& b) {
    const __m256i factors = _mm256_set1_epi32(factor);
    return {_mm256_add_epi32(_mm256_mullo_epi32(a.lo, factors), b.lo),
            _mm256_add_epi32(_mm256_mullo_epi32(a.hi, factors), b.hi)};
  }
  static V add(V a, V b) { return {_mm256_add_ps(a.lo, b.lo), _mm256_add_ps(a.hi, b.hi)}; }
  static V sub(V a, V b) { return {_mm256_sub_ps(a.lo, b.lo), _mm256_sub_ps(a.hi, b.hi)}; }
  static V mul(V a, V b) { return {_mm256_mul_ps(a.lo, b.lo), _mm256_mul_ps(a.hi, b.hi)}; }
  static V div(V a, V b) { return {_mm256_div_ps(a.lo, b.lo), _mm256_div_ps(a.hi, b.hi)}; }
  static V fma(V a, V b, V c) {
    return {_mm256_fmadd_ps(a.lo, b.lo, c.lo), _mm256_fmadd_ps(a.hi, b.hi, c.hi)};
  }
  static V max(V a, V b) { return {_mm256_max_ps(a.lo, b.lo), _mm256_max_ps(a.hi, b.hi)}; }
  static V min(V a, V b) { return {_mm256_min_ps(a.lo, b.lo), _mm256_min_ps(a.hi, b.hi)}; }
  static V abs(V a) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, a.lo), _mm256_andnot_ps(sign, a.hi)};
  }
  static V select_negative(V sign, V a, V b) {
    const auto select = [](__m256 s, __m256 x, __m256 y) {
      return _mm256_blendv_ps(y, x, _mm256_cmp_ps(s, _mm256_setzero_ps(), _CMP_LT_OQ));
    };
    return {select(sign.lo, a.lo, b.lo), select(sign.hi, a.hi, b.hi)};
  }
  static float sum(V a) {
    const __m256 four = _mm256_add_ps(a.lo, a.hi);
    const __m128 two = _mm_add_ps(_mm256_castps256_ps128(four), _mm256_extractf128_ps(four, 1));
    const __m128 one = _mm_add_ps(two, _mm_movehl_ps(two, two));
    return _mm_cvtss_f32(_mm_add_ss(one, _mm_movehdup_ps(one)));
  }
  static float maximum(V a) {
    const __m256 four = _mm256_max_ps(a.lo, a.hi);
    const __m128 two = _mm_max_ps(_mm256_castps256_ps128(four), _mm256_extractf128_ps(four, 1));
    const __m128 one = _mm_max_ps(two, _mm_movehl_ps(two, two));
    return _mm_cvtss_f32(_mm_max_ss(one, _mm_movehdup_ps(one)));
  }
  static V times_pow2(V a, V shifted) {
    return {times_pow2_half(a.lo, shifted.lo), times_pow2_half(a.hi, shifted.hi)};
  }
  static void store_i8(std::int8_t* p, V a) {
    const __m256i words = _mm256_packs_epi32(_mm256_cvttps_epi32(a.lo), _mm256_cvttps_epi32(a.hi));
    const __m256i ordered = _mm256_permute4x64_epi64(words, 0xd8);
    _mm_storeu_si128(
        reinterpret_cast<__m128i*>(p),
        _mm_packs_epi16(_mm256_castsi256_si128(ordered), _mm256_extracti128_si256(ordered, 1)));
  }
  static void store_bf16_of_i8(std::uint16_t* p, const std::int8_t* bytes) {
    for (int i = 0; i < 32; i += 16) {
      const __m256i words = _mm256_packus_epi32(bf16_of_i8(bytes + i), bf16_of_i8(bytes + i + 8));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + i), _mm256_permute4x64_epi64(words, 0xd8));
    }
  }

 private:
  static __m256i bf16_of_i8(const std::int8_t* p) {
    const __m256i words =
        _mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
    return _mm256_srli_epi32(_mm256_castps_si256(_mm256_cvtepi32_ps(words)), 16);
  }
  static __m256i pair_up_half(__m256 first, __m256 second) {
    return _mm256_or_si256(
        _mm256_srli_epi32(_mm256_castps_si256(first), 16),
        _mm256_and_si256(_mm256_castps_si256(second), _mm256_set1_epi32(-0x10000)));
  }
  static __m256 unsigned_half(const std::byte* p, int shift, int mask) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srl_epi32(words, _mm_cvtsi32_si128(shift)),
                                               _mm256_set1_epi32(mask)));
  }
  static __m256 signed_half(const std::byte* p, int index) {
    const __m256i words = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p));
    return _mm256_cvtepi32_ps(
        _mm256_srai_epi32(_mm256_sll_epi32(words, _mm_cvtsi32_si128(24 - 8 * index)), 24));
  }
  static __m256i widen_e4m3(const std::byte* p) {
    const __m256i bytes =
        _mm256_cvtepu8_epi16(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    const __m256i magnitude = _mm256_and_si256(bytes, _mm256_set1_epi16(0x7f));
    const __m256i normal =
        _mm256_add_epi16(_mm256_slli_epi16(magnitude, 4), _mm256_set1_epi16(kE4m3ExponentBf16));
    const __m256i table = _mm256_broadcastsi128_si256(
        _mm_loadu_si128(reinterpret_cast<const __m128i*>(kE4m3SubnormalBf16)));
    // Where number m of the table has its two bytes: 2 * m and 2 * m + 1.
    const __m256i places = _mm256_add_epi16(_mm256_mullo_epi16(magnitude, _mm256_set1_epi16(0x202)),
                                            _mm256_set1_epi16(0x100));
    const __m256i subnormal = _mm256_cmpgt_epi16(_mm256_set1_epi16(8), magnitude);
    const __m256i absolute =
        _mm256_blendv_epi8(normal, _mm256_shuffle_epi8(table, places), subnormal);
    const __m256i sign = _mm256_and_si256(_mm256_slli_epi16(bytes, 8), _mm256_set1_epi16(-0x8000));
    return _mm256_or_si256(absolute, sign);
  }
  static __m256 widen_bf16(const std::uint16_t* p) {
    const __m256i words =
        _mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
    return _mm256_castsi256_ps(_mm256_slli_epi32(words, 16));
  }
  static __m128i narrow_bf16(__m256 a) {
    const __m256i bits = _mm256_castps_si256(a);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i rounded = _mm256_srli_epi32(
        _mm256_add_epi32(bits, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff))), 16);
    const __m256i quiet = _mm256_or_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x40));
    const __m256i nan = _mm256_castps_si256(_mm256_cmp_ps(a, a, _CMP_UNORD_Q));
    const __m256i numbers = _mm256_blendv_epi8(rounded, quiet, nan);
    const __m256i small = _mm256_cmpeq_epi32(_mm256_and_si256(bits, _mm256_set1_epi32(0x7f800000)),
                                             _mm256_setzero_si256());
    const __m256i sign = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(0x8000));
    const __m256i words = _mm256_blendv_epi8(numbers, sign, small);
    const __m256i packed = _mm256_permute4x64_epi64(_mm256_packus_epi32(words, words), 0xd8);
    return _mm256_castsi256_si128(packed);
  }
  static __m256 times_pow2_half(__m256 a, __m256 shifted) {
    return _mm256_castsi256_ps(_mm256_add_epi32(
        _mm256_castps_si256(a), _mm256_slli_epi32(_mm256_castps_si256(shifted), 23)));
  }
};

}  // namespace lockstep::kernels::cpu

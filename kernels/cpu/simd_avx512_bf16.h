// AVX-512 with bf16 dot products. Include only where AVX-512 F, BW, DQ, VL and BF16 are enabled.
#pragma once

#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/transpose.h"

namespace lockstep::kernels::cpu {

struct Avx512Bf16Simd : Avx512Simd {
  // One instruction for two products, which rounds after each (and reads and writes subnormal
  // numbers as zero: kernels/flush_denormals.h).
  static V dot(V sums, Pairs a, Pairs b) {
    return _mm512_dpbf16_ps(sums, reinterpret_cast<__m512bh>(a), reinterpret_cast<__m512bh>(b));
  }
  static void store_bf16(std::uint16_t* p, V a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(p),
                        reinterpret_cast<__m256i>(_mm512_cvtneps_pbh(a)));
  }
  // `rows` rows of 32 numbers, `stride` apart, and zeros for others up to sixteen, as a tile
  // (kernel_table.h, ActivationTiles).
  static void store_tile(const float* values, std::int64_t rows, std::int64_t stride,
                         std::uint16_t* tile) {
    __m512i pairs[16];
    for (int row = 0; row < 16; ++row, values += stride) {
      pairs[row] = row < rows ? reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(
                                    _mm512_loadu_ps(values + 16), _mm512_loadu_ps(values)))
                              : _mm512_setzero_si512();
    }
    transpose(pairs);
    for (int pair = 0; pair < 16; ++pair) _mm512_storeu_si512(tile + 32 * pair, pairs[pair]);
  }
  static void store_bf16_of_i8(std::uint16_t* p, const std::int8_t* bytes) {
    _mm512_storeu_si512(
        p, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(load_i8(bytes + 16), load_i8(bytes))));
  }
};

}  // namespace lockstep::kernels::cpu

// AVX-512 with bf16 dot products. Include only where AVX-512 F, BW, DQ, VL and BF16 are enabled.
#pragma once

#include "kernels/cpu/simd_avx512.h"

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
  static void store_bf16_of_i8(std::uint16_t* p, const std::int8_t* bytes) {
    _mm512_storeu_si512(
        p, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(load_i8(bytes + 16), load_i8(bytes))));
  }
};

}  // namespace lockstep::kernels::cpu

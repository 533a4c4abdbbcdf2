// Sixteen by sixteen 32-bit words, rows for columns. Include only where AVX-512 F and DQ are
// enabled.
#pragma once

#include <immintrin.h>

namespace lockstep::kernels::cpu {

inline void transpose(__m512i (&rows)[16]) {
  __m512i t[16];
  for (int i = 0; i < 16; i += 2) {  // pairs of rows: words of one column beside each other
    t[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
    t[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {  // fours
    rows[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
    rows[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
    rows[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
    rows[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
  }
  // rows[4 * i + j], quarter q: column 4 * q + j of rows 4 * i to 4 * i + 3.
  for (int j = 0; j < 4; ++j) {
    const __m512i low01 = _mm512_shuffle_i32x4(rows[j], rows[4 + j], 0x88);
    const __m512i high01 = _mm512_shuffle_i32x4(rows[j], rows[4 + j], 0xdd);
    const __m512i low23 = _mm512_shuffle_i32x4(rows[8 + j], rows[12 + j], 0x88);
    const __m512i high23 = _mm512_shuffle_i32x4(rows[8 + j], rows[12 + j], 0xdd);
    t[j] = _mm512_shuffle_i32x4(low01, low23, 0x88);
    t[8 + j] = _mm512_shuffle_i32x4(low01, low23, 0xdd);
    t[4 + j] = _mm512_shuffle_i32x4(high01, high23, 0x88);
    t[12 + j] = _mm512_shuffle_i32x4(high01, high23, 0xdd);
  }
  for (int i = 0; i < 16; ++i) rows[i] = t[i];
}

}  // namespace lockstep::kernels::cpu

// Integer dot products of AVX-512 VNNI: dpbusd sums four products of an unsigned and a signed byte
// per 32-bit lane.
#pragma once

#include <cstddef>

#include "kernels/cpu/simd_avx512.h"

namespace lockstep::kernels::cpu {

inline Avx512Simd::V load_halves(const std::byte* p) {
  return Avx512Simd::load_f16(reinterpret_cast<const std::uint16_t*>(p));
}

inline __m512i load_bytes(const std::byte* p) { return _mm512_loadu_si512(p); }

inline __m512i four_bytes(const std::int8_t* bytes, int chunk) {
  return _mm512_set1_epi32(reinterpret_cast<const std::int32_t*>(bytes)[chunk]);
}

// Adds the products of a group's weights and the bytes of R rows, `stride` apart.
template <int R>
void add_bytes(__m512i (&sums)[R], const __m512i (&weights)[8], const std::int8_t* bytes,
               std::int64_t stride) {
#pragma GCC unroll 8
  for (int chunk = 0; chunk < 8; ++chunk) {
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      sums[i] = _mm512_dpbusd_epi32(sums[i], weights[chunk], four_bytes(bytes + i * stride, chunk));
    }
  }
}

template <bool kMinimum>
struct VnniFourBit {
  static constexpr bool kHasMinimum = kMinimum;
  static constexpr std::size_t kGroupBytes = kMinimum ? 320 : 288;
  class Weights {
   public:
    explicit Weights(const std::byte* group) : group_(group) {
      const __m512i low = _mm512_set1_epi8(15);
      for (int chunk = 0; chunk < 4; ++chunk) {
        const __m512i both = load_bytes(group + 64 * chunk);
        w_[chunk] = _mm512_and_si512(both, low);
        w_[chunk + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
      }
    }
    template <int R>
    void dots(const std::int8_t* bytes, std::int64_t stride, const std::int32_t* biases,
              std::int64_t bias_stride, Avx512Simd::V (&out)[R]) const {
      __m512i sums[R];
      for (int i = 0; i < R; ++i) {  // without minimum, nibbles count from -8
        sums[i] = _mm512_set1_epi32(kMinimum ? 0 : biases[i * bias_stride] / 16);
      }
      add_bytes(sums, w_, bytes, stride);
      for (int i = 0; i < R; ++i) out[i] = _mm512_cvtepi32_ps(sums[i]);
    }
    Avx512Simd::V scale() const { return load_halves(group_ + 256); }
    Avx512Simd::V minimum() const { return load_halves(group_ + 288); }

   private:
    const std::byte* group_;
    __m512i w_[8];
  };
};

struct VnniQ8 {
  static constexpr bool kHasMinimum = false;
  static constexpr std::size_t kGroupBytes = 544;
  static constexpr std::size_t kScale = 512;
  class Weights {
   public:
    explicit Weights(const std::byte* group) : scale_(load_halves(group + kScale)) {
      const __m512i bias = _mm512_set1_epi8(static_cast<char>(0x80));
      for (int chunk = 0; chunk < 8; ++chunk) {
        w_[chunk] = _mm512_xor_si512(load_bytes(group + 64 * chunk), bias);  // w + 128, unsigned
      }
    }
    template <int R>
    void dots(const std::int8_t* bytes, std::int64_t stride, const std::int32_t* biases,
              std::int64_t bias_stride, Avx512Simd::V (&out)[R]) const {
      __m512i sums[R];
      for (int i = 0; i < R; ++i) sums[i] = _mm512_set1_epi32(biases[i * bias_stride]);
      add_bytes(sums, w_, bytes, stride);
      for (int i = 0; i < R; ++i) out[i] = _mm512_cvtepi32_ps(sums[i]);
    }
    Avx512Simd::V scale() const { return scale_; }

   private:
    __m512i w_[8];
    Avx512Simd::V scale_;
  };
};

struct VnniDots {
  using Q4 = VnniFourBit<true>;
  using ScaledQ4 = VnniFourBit<false>;
  using Q8 = VnniQ8;
};

}  // namespace lockstep::kernels::cpu

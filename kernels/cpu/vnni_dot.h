// Integer dot products of AVX-512 VNNI: dpbusd sums four products of an unsigned and a signed byte
// per 32-bit lane.
#pragma once

#include <cstddef>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/simd_avx512.h"

namespace lockstep::kernels::cpu {

inline Avx512Simd::V load_halves(const std::byte* p) {
  return Avx512Simd::load_f16(reinterpret_cast<const std::uint16_t*>(p));
}

inline __m512i load_bytes(const std::byte* p) { return _mm512_loadu_si512(p); }

inline __m512i four_bytes(const std::int8_t* bytes, int chunk) {
  return _mm512_set1_epi32(reinterpret_cast<const std::int32_t*>(bytes)[chunk]);
}

// A group of sixteen outputs' weights as unsigned bytes, four columns a register. They count from
// -128 / kBiasPart (0: from zero), and a bias is -128 * the sum of the bytes that they meet.
template <int kBiasPart>
class VnniGroup {
 public:
  template <int R>
  void dots(const QuantizedRows& x, __m512i (&out)[R]) const {
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) out[i] = start(x.biases[i * x.group_stride]);
#pragma GCC unroll 8
    for (int chunk = 0; chunk < 8; ++chunk) {
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) add(x.values + i * x.value_stride, chunk, out[i]);
    }
  }

  // Mostly, rows have the same wide groups: all of them go side by side, and the low bytes of a
  // group that is not wide are zeros.
  template <int R>
  void widen(const QuantizedRows& x, __m512i (&dots)[R]) const {
    static_assert(kWideBase == 255);
    alignas(64) static constexpr std::int8_t kZeros[kGroup] = {};
    const std::int8_t* low[R];
#pragma GCC unroll 16
    for (int i = 0; i < R; ++i) {
      const std::int64_t group = i * x.group_stride;
      const bool wide = x.wide[group] != 0;
      low[i] = wide ? x.low + i * x.value_stride : kZeros;
      const __mmask16 all = wide ? 0xffff : 0;
      dots[i] = _mm512_mask_sub_epi32(dots[i], all, _mm512_slli_epi32(dots[i], 8), dots[i]);
      dots[i] = _mm512_add_epi32(dots[i], start(wide ? x.low_biases[group] : 0));
    }
#pragma GCC unroll 8
    for (int chunk = 0; chunk < 8; ++chunk) {
#pragma GCC unroll 16
      for (int i = 0; i < R; ++i) add(low[i], chunk, dots[i]);
    }
  }

 protected:
  __m512i weights_[8];

 private:
  static __m512i start(std::int32_t bias) {
    if constexpr (kBiasPart == 0)
      return _mm512_setzero_si512();
    else
      return _mm512_set1_epi32(bias / kBiasPart);
  }
  void add(const std::int8_t* bytes, int chunk, __m512i& sums) const {
    sums = _mm512_dpbusd_epi32(sums, weights_[chunk], four_bytes(bytes, chunk));
  }
};

template <bool kMinimum>
struct VnniFourBit {
  static constexpr bool kHasMinimum = kMinimum;
  static constexpr std::size_t kGroupBytes = kMinimum ? 320 : 288;
  // Without minimum, nibbles count from -8.
  class Weights : public VnniGroup<kMinimum ? 0 : 16> {
   public:
    explicit Weights(const std::byte* group) : group_(group) {
      const __m512i low = _mm512_set1_epi8(15);
      for (int chunk = 0; chunk < 4; ++chunk) {
        const __m512i both = load_bytes(group + 64 * chunk);
        this->weights_[chunk] = _mm512_and_si512(both, low);
        this->weights_[chunk + 4] = _mm512_and_si512(_mm512_srli_epi16(both, 4), low);
      }
    }
    Avx512Simd::V scale() const { return load_halves(group_ + 256); }
    Avx512Simd::V minimum() const { return load_halves(group_ + 288); }

   private:
    const std::byte* group_;
  };
};

struct VnniQ8 {
  static constexpr bool kHasMinimum = false;
  static constexpr std::size_t kGroupBytes = 544;
  static constexpr std::size_t kScale = 512;
  class Weights : public VnniGroup<1> {
   public:
    explicit Weights(const std::byte* group) : scale_(load_halves(group + kScale)) {
      const __m512i bias = _mm512_set1_epi8(static_cast<char>(0x80));
      for (int chunk = 0; chunk < 8; ++chunk) {
        weights_[chunk] = _mm512_xor_si512(load_bytes(group + 64 * chunk), bias);
      }
    }
    Avx512Simd::V scale() const { return scale_; }

   private:
    Avx512Simd::V scale_;
  };
};

struct VnniDots {
  using Q4 = VnniFourBit<true>;
  using ScaledQ4 = VnniFourBit<false>;
  using Q8 = VnniQ8;
};

}  // namespace lockstep::kernels::cpu

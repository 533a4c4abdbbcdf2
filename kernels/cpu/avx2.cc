// AVX2 with FMA and F16C.
#include "kernels/cpu/simd_avx2.h"
#include "kernels/cpu/table_body.h"

namespace lockstep::kernels::cpu {
namespace {

using S = Avx2Simd;

S::V halves(const std::byte* p) { return S::load_f16(reinterpret_cast<const std::uint16_t*>(p)); }

__m256i load(const std::byte* p) { return _mm256_load_si256(reinterpret_cast<const __m256i*>(p)); }

__m256i four_bytes(const std::int8_t* bytes, int chunk) {
  return _mm256_set1_epi32(reinterpret_cast<const std::int32_t*>(bytes)[chunk]);
}

// Sums of four products u * s per 32-bit lane. REQUIRES: two products fit 16 bits: u * |s| <=
// 16383.
__m256i dot4(__m256i sums, __m256i u, __m256i s) {
  const __m256i pairs = _mm256_maddubs_epi16(u, s);
  return _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

// The sums of the first and of the last eight outputs of R rows, as floats.
template <int R>
void to_floats(const __m256i (&first)[R], const __m256i (&last)[R], S::V (&out)[R]) {
  for (int i = 0; i < R; ++i) out[i] = {_mm256_cvtepi32_ps(first[i]), _mm256_cvtepi32_ps(last[i])};
}

template <bool kMinimum>
struct FourBit {
  static constexpr bool kHasMinimum = kMinimum;
  static constexpr std::size_t kGroupBytes = kMinimum ? 320 : 288;
  class Weights {
   public:
    explicit Weights(const std::byte* group) : group_(group) {}
    template <int R>
    void dots(const std::int8_t* bytes, std::int64_t stride, const std::int32_t* biases,
              std::int64_t bias_stride, S::V (&out)[R]) const {
      const __m256i low = _mm256_set1_epi8(15);
      __m256i sums[2][R];
      for (int half = 0; half < 2; ++half) {
        for (int i = 0; i < R; ++i) {  // without minimum, nibbles count from -8
          sums[half][i] = _mm256_set1_epi32(kMinimum ? 0 : biases[i * bias_stride] / 16);
        }
        for (int chunk = 0; chunk < 4; ++chunk) {
          const __m256i both = load(group_ + 64 * chunk + 32 * half);
          const __m256i lows = _mm256_and_si256(both, low);
          const __m256i highs = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
          for (int i = 0; i < R; ++i) {
            __m256i& sum = sums[half][i];
            sum = dot4(sum, lows, four_bytes(bytes + i * stride, chunk));
            sum = dot4(sum, highs, four_bytes(bytes + i * stride, chunk + 4));
          }
        }
      }
      to_floats(sums[0], sums[1], out);
    }
    S::V scale() const { return halves(group_ + 256); }
    S::V minimum() const { return halves(group_ + 288); }

   private:
    const std::byte* group_;
  };
};

struct EightBit {
  static constexpr bool kHasMinimum = false;
  static constexpr std::size_t kGroupBytes = 544;
  class Weights {
   public:
    explicit Weights(const std::byte* group) : group_(group) {}
    template <int R>
    void dots(const std::int8_t* bytes, std::int64_t stride, const std::int32_t*, std::int64_t,
              S::V (&out)[R]) const {
      __m256i sums[2][R];
      for (int half = 0; half < 2; ++half) {
        for (int i = 0; i < R; ++i) sums[half][i] = _mm256_setzero_si256();
        for (int chunk = 0; chunk < 8; ++chunk) {
          // |w| * (x with w's sign): at most 128 * 127.
          const __m256i w = load(group_ + 64 * chunk + 32 * half);
          const __m256i magnitude = _mm256_abs_epi8(w);
          for (int i = 0; i < R; ++i) {
            const __m256i x = four_bytes(bytes + i * stride, chunk);
            sums[half][i] = dot4(sums[half][i], magnitude, _mm256_sign_epi8(x, w));
          }
        }
      }
      to_floats(sums[0], sums[1], out);
    }
    S::V scale() const { return halves(group_ + 512); }

   private:
    const std::byte* group_;
  };
};

struct Dots {
  using Q4 = FourBit<true>;
  using ScaledQ4 = FourBit<false>;
  using Q8 = EightBit;
};

}  // namespace

const KernelTable& avx2_table() {
  static constexpr KernelTable table = make_table<S, Dots>("avx2");
  return table;
}

}  // namespace lockstep::kernels::cpu

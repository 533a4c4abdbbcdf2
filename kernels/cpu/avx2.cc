// AVX2 with FMA and F16C.
#include "kernels/cpu/row_dots.h"
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

template <bool kMinimum>
struct FourBit {
  static constexpr bool kHasMinimum = kMinimum;
  static constexpr std::size_t kGroupBytes = kMinimum ? 320 : 288;
  class Weights : public RowDots<S, Weights> {
   public:
    explicit Weights(const std::byte* group) : group_(group) {}
    S::Ints dot(const std::int8_t* bytes, std::int32_t bias) const {
      const __m256i low = _mm256_set1_epi8(15);
      const __m256i first = _mm256_set1_epi32(kMinimum ? 0 : bias / 16);  // nibbles count from -8
      __m256i sums[2] = {first, first};
      for (int chunk = 0; chunk < 4; ++chunk) {
        for (int half = 0; half < 2; ++half) {
          const __m256i both = load(group_ + 64 * chunk + 32 * half);
          const __m256i high = _mm256_and_si256(_mm256_srli_epi16(both, 4), low);
          sums[half] = dot4(sums[half], _mm256_and_si256(both, low), four_bytes(bytes, chunk));
          sums[half] = dot4(sums[half], high, four_bytes(bytes, chunk + 4));
        }
      }
      return {sums[0], sums[1]};
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
  class Weights : public RowDots<S, Weights> {
   public:
    explicit Weights(const std::byte* group) : group_(group) {}
    S::Ints dot(const std::int8_t* bytes, std::int32_t) const {
      __m256i sums[2] = {_mm256_setzero_si256(), _mm256_setzero_si256()};
      for (int chunk = 0; chunk < 8; ++chunk) {
        const __m256i x = four_bytes(bytes, chunk);
        for (int half = 0; half < 2; ++half) {
          // |w| * (x with w's sign): at most 128 * 127.
          const __m256i w = load(group_ + 64 * chunk + 32 * half);
          sums[half] = dot4(sums[half], _mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
        }
      }
      return {sums[0], sums[1]};
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

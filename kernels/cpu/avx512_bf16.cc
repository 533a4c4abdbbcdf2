// AVX-512 with VNNI and the bf16 dot product.
#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/table_body.h"
#include "kernels/cpu/vnni_dot.h"

namespace lockstep::kernels::cpu {
namespace {

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

}  // namespace

const KernelTable& avx512_bf16_table() {
  static constexpr KernelTable table = make_table<Avx512Bf16Simd, VnniQ4, VnniQ8>("avx512_bf16");
  return table;
}

}  // namespace lockstep::kernels::cpu

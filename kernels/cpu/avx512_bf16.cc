// AVX-512 with VNNI and the bf16 dot product.
#include "kernels/cpu/simd_avx512_bf16.h"
#include "kernels/cpu/table_body.h"
#include "kernels/cpu/vnni_dot.h"

namespace lockstep::kernels::cpu {

const KernelTable& avx512_bf16_table() {
  static constexpr KernelTable table = make_table<Avx512Bf16Simd, VnniDots>("avx512_bf16");
  return table;
}

}  // namespace lockstep::kernels::cpu

// AVX-512 with VNNI.
#include "kernels/cpu/simd_avx512.h"
#include "kernels/cpu/table_body.h"
#include "kernels/cpu/vnni_dot.h"

namespace lockstep::kernels::cpu {

const KernelTable& avx512_table() {
  static constexpr KernelTable table = make_table<Avx512Simd, VnniDots>("avx512");
  return table;
}

}  // namespace lockstep::kernels::cpu

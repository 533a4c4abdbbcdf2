#include "kernels/cpu_family.h"

#include <string>

#include "base/error.h"

namespace lockstep::kernels {

std::string_view name(CpuFamily family) { return kernel_table(family).name; }

std::vector<CpuFamily> supported_families() {
  std::vector<CpuFamily> families{CpuFamily::scalar};
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c")) {
    families.push_back(CpuFamily::avx2);
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512vnni")) {
      families.push_back(CpuFamily::avx512);
      if (__builtin_cpu_supports("avx512bf16")) families.push_back(CpuFamily::avx512_bf16);
    }
  }
  return families;
}

CpuFamily select_family(std::string_view wanted) {
  const auto families = supported_families();
  if (wanted == "auto") return families.back();
  std::string known;
  for (const CpuFamily family : families) {
    if (name(family) == wanted) return family;
    known += ' ';
    known += name(family);
  }
  throw Error("kernels: '" + std::string(wanted) +
              "' is not among what this machine can run:" + known);
}

const cpu::KernelTable& kernel_table(CpuFamily family) {
  switch (family) {
    case CpuFamily::avx2: return cpu::avx2_table();
    case CpuFamily::avx512: return cpu::avx512_table();
    case CpuFamily::avx512_bf16: return cpu::avx512_bf16_table();
    case CpuFamily::scalar: break;
  }
  return cpu::scalar_table();
}

}  // namespace lockstep::kernels

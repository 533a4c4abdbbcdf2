#include "kernels/cpu_family.h"

#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <string>

#include "base/error.h"

namespace lockstep::kernels {
namespace {

// Whether the processor has it, with the parts for bf16 and bytes, and the kernel lets this process
// use its registers, for which it must be asked.
bool may_use_amx() {
  constexpr unsigned kBf16 = 1u << 22, kTile = 1u << 24, kInt8 = 1u << 25;
  unsigned a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return false;
  if ((d & kBf16) == 0 || (d & kTile) == 0 || (d & kInt8) == 0) return false;
  constexpr int kRequestPermission = 0x1023, kTileData = 18;  // ARCH_REQ_XCOMP_PERM
  return syscall(SYS_arch_prctl, kRequestPermission, kTileData) == 0;
}

}  // namespace

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
      if (__builtin_cpu_supports("avx512bf16")) {
        families.push_back(CpuFamily::avx512_bf16);
        if (__builtin_cpu_supports("avx512vbmi") && may_use_amx())
          families.push_back(CpuFamily::amx);
      }
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
    case CpuFamily::amx: return cpu::amx_table();
    case CpuFamily::scalar: break;
  }
  return cpu::scalar_table();
}

}  // namespace lockstep::kernels

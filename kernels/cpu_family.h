// Which CPU instructions the kernels use.
#pragma once

#include <string_view>
#include <vector>

#include "kernels/cpu/kernel_table.h"

namespace lockstep::kernels {

// Chosen once at start-up. All families give the same bits: a request's answer does not depend on
// which machine of a mixed cluster computed it.
enum class CpuFamily { scalar, avx2, avx512, avx512_bf16 };

std::string_view name(CpuFamily family);

// The families that this machine can run, slowest first; never empty.
std::vector<CpuFamily> supported_families();

// The family called `name`, or the fastest for "auto". Throws Error listing what the machine can
// run when it is not among them.
CpuFamily select_family(std::string_view name);

// REQUIRES: the machine supports `family`.
const cpu::KernelTable& kernel_table(CpuFamily family);

}  // namespace lockstep::kernels

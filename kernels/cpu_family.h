// Which CPU instructions the kernels use.
#pragma once

#include <string_view>
#include <vector>

#include "kernels/cpu/kernel_table.h"

namespace lockstep::kernels {

// Chosen once at start-up. All families but amx give the same bits: a request's answer does not
// depend on which machine of a mixed cluster computed it. AMX sums bf16 products in an order of its
// own, so it is for clusters of which every machine has it; of quantized weights by int8 activations
// it gives the bits of the others, too.
enum class CpuFamily { scalar, avx2, avx512, avx512_bf16, amx };

std::string_view name(CpuFamily family);

// The families that this machine can run, slowest first; never empty.
std::vector<CpuFamily> supported_families();

// The family called `name`, or the fastest for "auto". Throws Error listing what the machine can
// run when it is not among them.
CpuFamily select_family(std::string_view name);

// REQUIRES: the machine supports `family`.
const cpu::KernelTable& kernel_table(CpuFamily family);

}  // namespace lockstep::kernels

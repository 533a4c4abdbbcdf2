// The matrix unit of kernels/cpu/amx_body.h without one: Intel's pseudocode in plain loops.
#pragma once

#include "kernels/cpu/kernel_table.h"

namespace lockstep::kernels {

// REQUIRES: the machine supports avx512_bf16. The same products as the amx family's.
const cpu::KernelTable& emulated_unit_table();

}  // namespace lockstep::kernels

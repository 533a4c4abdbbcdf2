// The matrix unit of kernels/cpu/amx_body.h without one: Intel's pseudocode in plain loops.
#pragma once

#include "kernels/cpu/kernel_table.h"

namespace lockstep::kernels {

// The same bits as the amx family's. REQUIRES: can_emulate_unit().
const cpu::KernelTable& emulated_unit_table();

// Whether this machine has what the family has beside its unit.
bool can_emulate_unit();

}  // namespace lockstep::kernels

// Small kernels whose effect a test can tell.
#pragma once

#include "kernels/cuda/stream.h"

namespace lockstep::kernels::cuda {

// Waits `milliseconds` on the device, then sets *value to *value * factor + addend.
void delayed_multiply_add(int* value, int factor, int addend, int milliseconds,
                          const Stream& stream);

}  // namespace lockstep::kernels::cuda

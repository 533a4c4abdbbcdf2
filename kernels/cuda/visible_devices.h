// What CUDA has to offer on this host. This header needs no CUDA: a build without it has a body
// too (absent.cc), which says so.
#pragma once

#include "kernels/device/device_choice.h"

namespace lockstep::kernels::cuda {

// Whether this program was built with CUDA.
bool is_built_in();

// Asks the driver; touches no device. A missing driver or device is an answer, not an error. Throws
// Error in a build without CUDA.
device::VisibleDevices find_devices();

}  // namespace lockstep::kernels::cuda

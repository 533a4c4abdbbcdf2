// Linked in place of all other files of this folder where LOCKSTEP_CUDA is off.
#include "base/error.h"
#include "kernels/cuda/visible_devices.h"

namespace lockstep::kernels::cuda {

bool is_built_in() { return false; }

device::VisibleDevices find_devices() {
  throw Error("this build has no CUDA: configure with --preset cuda-release");
}

}  // namespace lockstep::kernels::cuda

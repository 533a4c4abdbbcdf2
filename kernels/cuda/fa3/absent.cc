// Linked in place of the other file of this folder where FlashInfer or CUTLASS was not found, or
// the build is for no Hopper.
#include "base/error.h"
#include "kernels/cuda/fa3_attention.h"

namespace lockstep::kernels::cuda {

bool fa3_built_in() { return false; }

void launch_fa3(const Fa3Args&, const Fa3Layout&, StreamHandle) {
  throw Error("this build has no FA3: it needs FlashInfer's headers and sm_90a");
}

}  // namespace lockstep::kernels::cuda

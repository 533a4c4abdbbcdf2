// A kernel that does nothing, behind all that is in line: what follows it begins when all of that
// has ended, even if it does not wait for earlier kernels itself (gpu_thread.cuh).
#pragma once

#include "kernels/cuda/grid.h"

namespace lockstep::kernels::cuda {

void launch_full_stop(StreamHandle stream);

}  // namespace lockstep::kernels::cuda

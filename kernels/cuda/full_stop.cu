#include "kernels/cuda/full_stop.h"
#include "kernels/cuda/launch.cuh"

namespace lockstep::kernels::cuda {
namespace {

__global__ void full_stop_kernel() {}

}  // namespace

// Without the attribute of launch_overlapping().
void launch_full_stop(StreamHandle stream) {
  full_stop_kernel<<<1, kWarp, 0, stream>>>();
  check_launch(cudaGetLastError(), "full_stop");
}

}  // namespace lockstep::kernels::cuda

#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/swiglu.cuh"

namespace lockstep::kernels::cuda {
namespace {

__global__ void swiglu_kernel(const SwigluArgs args) {
  GpuThread thread;
  thread.begin_in_line();
  swiglu(thread, args);
}

}  // namespace

void launch_swiglu(const SwigluArgs& args, StreamHandle stream) {
  launch_kernel("swiglu", swiglu_kernel, swiglu_grid(args), args, stream);
}

}  // namespace lockstep::kernels::cuda

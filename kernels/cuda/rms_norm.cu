#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rms_norm.cuh"

namespace lockstep::kernels::cuda {
namespace {

__global__ void rms_norm_kernel(const RmsNormArgs args) {
  GpuThread thread;
  thread.begin_in_line();
  rms_norm(thread, args);
}

}  // namespace

void launch_rms_norm(const RmsNormArgs& args, StreamHandle stream) {
  launch_kernel("rms_norm", rms_norm_kernel, rms_norm_grid(args), args, stream);
}

}  // namespace lockstep::kernels::cuda

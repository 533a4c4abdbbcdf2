#include "kernels/cuda/copy_rows.cuh"
#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"

namespace lockstep::kernels::cuda {
namespace {

__global__ void copy_rows_kernel(const CopyRowsArgs args) {
  GpuThread thread;
  thread.begin_in_line();
  copy_rows(thread, args);
}

}  // namespace

void launch_copy_rows(const CopyRowsArgs& args, StreamHandle stream) {
  launch_kernel("copy_rows", copy_rows_kernel, copy_rows_grid(args), args, stream);
}

}  // namespace lockstep::kernels::cuda

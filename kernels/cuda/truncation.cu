#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/truncation.cuh"

namespace lockstep::kernels::cuda {
namespace {

__global__ void __launch_bounds__(1024) truncate_rows_kernel(const TruncationArgs args) {
  GpuThread thread;
  thread.begin_in_line();
  truncate_rows(thread, args);
}

}  // namespace

void launch_truncation(const TruncationArgs& args, StreamHandle stream) {
  launch_kernel("truncate_rows", truncate_rows_kernel, truncation_grid(args), args, stream);
}

}  // namespace lockstep::kernels::cuda

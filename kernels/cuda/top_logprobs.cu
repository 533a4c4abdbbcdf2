#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/top_logprobs.cuh"

namespace lockstep::kernels::cuda {
namespace {

__global__ void best_of_slices_kernel(const TopLogprobsArgs args) {
  GpuThread thread;
  thread.begin_in_line();
  best_of_slices(thread, args);
}

__global__ void weights_of_slices_kernel(const TopLogprobsArgs args) {
  GpuThread thread;
  thread.begin_in_line();
  weights_of_slices(thread, args);
}

__global__ void logprobs_of_rows_kernel(const TopLogprobsArgs args) {
  GpuThread thread;
  thread.begin_in_line();
  logprobs_of_rows(thread, args);
}

}  // namespace

void launch_top_logprobs(const TopLogprobsArgs& args, StreamHandle stream) {
  launch_kernel("best_of_slices", best_of_slices_kernel, best_of_slices_grid(args), args, stream);
  launch_kernel("weights_of_slices", weights_of_slices_kernel, weights_of_slices_grid(args), args,
                stream);
  launch_kernel("logprobs_of_rows", logprobs_of_rows_kernel, logprobs_of_rows_grid(args), args,
                stream);
}

}  // namespace lockstep::kernels::cuda

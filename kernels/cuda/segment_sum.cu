#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/segment_sum.cuh"

namespace lockstep::kernels::cuda {
namespace {

__global__ void segment_sum_kernel(const SegmentSumArgs args) {
  GpuThread thread;
  thread.begin_in_line();
  segment_sum(thread, args);
}

}  // namespace

void launch_segment_sum(const SegmentSumArgs& args, StreamHandle stream) {
  launch_kernel("segment_sum", segment_sum_kernel, segment_sum_grid(args), args, stream);
}

}  // namespace lockstep::kernels::cuda

#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rope_kv.cuh"

namespace lockstep::kernels::cuda {
namespace {

__global__ void rope_kv_kernel(const RopeKvArgs args) {
  GpuThread thread;
  thread.let_next_begin();
  rope_kv(thread, args);
}

}  // namespace

void launch_rope_kv(const RopeKvArgs& args, StreamHandle stream) {
  launch_kernel("rope_kv", rope_kv_kernel, rope_kv_grid(args), args, stream);
}

}  // namespace lockstep::kernels::cuda

#include "kernels/cuda/attention.cuh"
#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"

namespace lockstep::kernels::cuda {
namespace {

template <CacheFormat format>
__global__ void __launch_bounds__(AttentionMemory::kThreads)
    attention_kernel(const __grid_constant__ AttentionArgs args) {
  GpuThread thread;
  thread.begin_in_line();
  attention<format>(thread, args);
}

__global__ void combine_parts_kernel(const __grid_constant__ AttentionArgs args) {
  GpuThread thread;
  thread.begin_in_line();
  combine_parts(thread, args);
}

}  // namespace

void launch_attention(const AttentionArgs& args, StreamHandle stream) {
  const auto kernel = args.cache.format == CacheFormat::bf16 ? attention_kernel<CacheFormat::bf16>
                                                             : attention_kernel<CacheFormat::e4m3>;
  launch_kernel("attention", kernel, attention_grid(args), args, stream);
  if (args.parts == nullptr) return;
  launch_kernel("attention's combination", combine_parts_kernel, combine_grid(args), args, stream);
}

}  // namespace lockstep::kernels::cuda

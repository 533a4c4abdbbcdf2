#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/rms_norm.cuh"

namespace lockstep::kernels::cuda {
namespace {

// Of rows of one strip of two packs a thread, one finds room beside a block of a product.
template <int kPacks>
__global__ void __launch_bounds__(512, kPacks == 2 ? 2 : 1)
    rms_norm_kernel(const __grid_constant__ RmsNormArgs args) {
  GpuThread thread;
  thread.let_next_begin();
  rms_norm<kPacks>(thread, args);
}

}  // namespace

void launch_rms_norm(const RmsNormArgs& args, StreamHandle stream) {
  with_norm_packs(args, [&](auto packs) {
    launch_kernel("rms_norm", rms_norm_kernel<packs>, rms_norm_grid(args), args, stream);
  });
}

}  // namespace lockstep::kernels::cuda

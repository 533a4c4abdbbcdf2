#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/peer_norm.cuh"

namespace lockstep::kernels::cuda {
namespace {

template <int kPacks>
__global__ void __launch_bounds__(512) peer_norm_kernel(const __grid_constant__ PeerNormArgs args) {
  GpuThread thread;
  thread.wait_for_earlier();
  peer_norm<kPacks>(thread, args);
}

}  // namespace

void launch_peer_norm(const PeerNormArgs& args, StreamHandle stream) {
  with_norm_packs(args.norm, [&](auto packs) {
    launch_kernel("peer_norm", peer_norm_kernel<packs>, peer_norm_grid(args), args, stream);
  });
}

}  // namespace lockstep::kernels::cuda

#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/peer_norm.cuh"

namespace lockstep::kernels::cuda {
namespace {

__global__ void peer_norm_kernel(const PeerNormArgs args) {
  GpuThread thread;
  thread.wait_for_earlier();
  peer_norm(thread, args);
}

}  // namespace

void launch_peer_norm(const PeerNormArgs& args, StreamHandle stream) {
  launch_kernel("peer_norm", peer_norm_kernel, peer_norm_grid(args), args, stream);
}

}  // namespace lockstep::kernels::cuda

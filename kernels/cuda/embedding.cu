#include "kernels/cuda/embedding.cuh"
#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"

namespace lockstep::kernels::cuda {
namespace {

__global__ void embedding_kernel(const EmbeddingArgs args) {
  GpuThread thread;
  thread.begin_in_line();
  embedding(thread, args);
}

}  // namespace

void launch_embedding(const EmbeddingArgs& args, StreamHandle stream) {
  launch_kernel("embedding", embedding_kernel, embedding_grid(args), args, stream);
}

}  // namespace lockstep::kernels::cuda

#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"
#include "kernels/cuda/token_choice.cuh"

namespace lockstep::kernels::cuda {
namespace {

__global__ void modify_logits_kernel(const TokenChoiceArgs args) {
  GpuThread thread;
  thread.begin_in_line();
  modify_logits(thread, args);
}

__global__ void choose_in_slices_kernel(const TokenChoiceArgs args) {
  GpuThread thread;
  thread.begin_in_line();
  choose_in_slices(thread, args);
}

__global__ void choose_among_slices_kernel(const TokenChoiceArgs args) {
  GpuThread thread;
  thread.begin_in_line();
  choose_among_slices(thread, args);
}

__global__ void choose_among_ranks_kernel(const RankWinnersArgs args) {
  GpuThread thread;
  thread.begin_in_line();
  choose_among_ranks(thread, args);
}

}  // namespace

void launch_modify_logits(const TokenChoiceArgs& args, StreamHandle stream) {
  launch_kernel("modify_logits", modify_logits_kernel, modify_logits_grid(args), args, stream);
}

void launch_token_choice(const TokenChoiceArgs& args, StreamHandle stream) {
  launch_kernel("choose_in_slices", choose_in_slices_kernel, choose_in_slices_grid(args), args,
                stream);
  launch_kernel("choose_among_slices", choose_among_slices_kernel, choose_among_slices_grid(args),
                args, stream);
}

void launch_rank_winners(const RankWinnersArgs& args, StreamHandle stream) {
  launch_kernel("choose_among_ranks", choose_among_ranks_kernel, choose_among_ranks_grid(args),
                args, stream);
}

}  // namespace lockstep::kernels::cuda

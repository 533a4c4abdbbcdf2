#include "kernels/cuda/flashinfer/tile_kernel.cuh"

namespace lockstep::kernels::cuda {

void launch_bf16_128(bool short_tiles, const TileLaunch& launch, StreamHandle stream) {
  if (short_tiles) return launch_tile<kShortTile, 128, __nv_bfloat16>(launch, stream);
  launch_tile<kLongTile, 128, __nv_bfloat16>(launch, stream);
}

}  // namespace lockstep::kernels::cuda

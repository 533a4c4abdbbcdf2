#include "kernels/cuda/flashinfer/tile_kernel.cuh"

namespace lockstep::kernels::cuda {

void launch_e4m3_128(bool short_tiles, const TileLaunch& launch, StreamHandle stream) {
  if (short_tiles) return launch_tile<kShortTile, 128, __nv_fp8_e4m3>(launch, stream);
  launch_tile<kLongTile, 128, __nv_fp8_e4m3>(launch, stream);
}

}  // namespace lockstep::kernels::cuda

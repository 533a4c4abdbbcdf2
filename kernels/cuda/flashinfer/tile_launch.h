// One launch of FlashInfer's kernel: what the source files of this folder, one a head_dim and a
// format of the cache, have in common. Plain C++.
#pragma once

#include "kernels/cuda/flashinfer_attention.h"

namespace lockstep::kernels::cuda {

struct TileLaunch {
  const FlashInferArgs* args;
  FlashInferTiles tiles;
  std::int64_t chunk_size;     // where it lies in the plan
  std::int32_t tile_capacity;  // index of the end in tiles.first_block
  std::int32_t first_item;
  std::int32_t items;  // at least 1
};

// Short and long tiles of one head_dim and format.
void launch_bf16_64(bool short_tiles, const TileLaunch& launch, StreamHandle stream);
void launch_bf16_128(bool short_tiles, const TileLaunch& launch, StreamHandle stream);
void launch_e4m3_64(bool short_tiles, const TileLaunch& launch, StreamHandle stream);
void launch_e4m3_128(bool short_tiles, const TileLaunch& launch, StreamHandle stream);

}  // namespace lockstep::kernels::cuda

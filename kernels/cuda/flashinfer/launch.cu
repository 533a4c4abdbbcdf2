#include <algorithm>
#include <limits>
#include <string>

#include "kernels/cuda/attention_backend.h"
#include "kernels/cuda/flashinfer/tile_launch.h"
#include "kernels/cuda/flashinfer_combine.cuh"
#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"

namespace lockstep::kernels::cuda {
namespace {

__global__ void combine_flashinfer_parts_kernel(
    const __grid_constant__ FlashInferCombineArgs args) {
  GpuThread thread;
  thread.let_next_begin();
  combine_flashinfer_parts(thread, args);
}

using LaunchTiles = void (*)(bool short_tiles, const TileLaunch&, StreamHandle);

LaunchTiles launcher(const PagedCache& cache) {
  const bool of_64 = cache.head_dim == 64;
  if (cache.format == CacheFormat::bf16) return of_64 ? launch_bf16_64 : launch_bf16_128;
  return of_64 ? launch_e4m3_64 : launch_e4m3_128;
}

void check(const FlashInferArgs& args, const FlashInferLayout& layout, const FlashInferGrid& grid) {
  (void)choose_attention(AttentionBackend::flashinfer,
                         {.head_dim = args.cache.head_dim,
                          .key_value_heads = args.cache.heads,
                          .model_group = 1,
                          .format = args.cache.format,
                          .group = args.cache.heads > 0 && args.query_heads % args.cache.heads == 0
                                       ? args.query_heads / args.cache.heads
                                       : 0,
                          .flashinfer_built_in = true});
  if (grid.rows > layout.limits.rows || grid.short_items > layout.limits.short_items ||
      grid.long_items > layout.limits.long_items) {
    throw Error("attention by FlashInfer: a grid beyond its plan's limits");
  }
  // The kernel's indices are of 32 bits.
  const std::int64_t row = std::int64_t{args.query_heads} * args.cache.head_dim;
  if (std::max<std::int64_t>(layout.limits.parts, layout.limits.rows) * row >
      std::numeric_limits<std::uint32_t>::max()) {
    throw Error("attention by FlashInfer: its parts have more than 2^32 numbers");
  }
}

}  // namespace

bool flashinfer_built_in() { return true; }

void launch_flashinfer(const FlashInferArgs& args, const FlashInferLayout& layout,
                       const FlashInferWave& wave, const FlashInferGrid& grid,
                       StreamHandle stream) {
  check(args, layout, grid);
  const LaunchTiles launch_tiles = launcher(args.cache);
  TileLaunch launch{.args = &args,
                    .tiles = layout.short_tiles,
                    .chunk_size = layout.chunk_size,
                    .tile_capacity = layout.limits.short_items,
                    .first_item = wave.first_short_item,
                    .items = grid.short_items};
  if (launch.items > 0) launch_tiles(true, launch, stream);
  launch.tiles = layout.long_tiles;
  launch.tile_capacity = layout.limits.long_items;
  launch.first_item = wave.first_long_item;
  launch.items = grid.long_items;
  if (launch.items > 0) launch_tiles(false, launch, stream);

  const FlashInferCombineArgs combine = combination_of(args, layout, wave, grid);
  launch_kernel("combination of FlashInfer's parts", combine_flashinfer_parts_kernel,
                flashinfer_combine_grid(combine), combine, stream);
}

}  // namespace lockstep::kernels::cuda

// FlashInfer's kernel with all its template parameters fixed, and its arguments.
//
// The kernel is instantiated here rather than through FlashInfer's dispatch
// (BatchPrefillWithPagedKVCacheDispatched), which takes the number of keys of a step from the
// device's shared memory and the shape of a block from the batch: both change the order of sums.
#pragma once

#include <cuda_bf16.h>
#include <cuda_fp8.h>

#include <flashinfer/attention/mask.cuh>
#include <flashinfer/attention/prefill.cuh>
#include <flashinfer/attention/variants.cuh>
#include <flashinfer/page.cuh>

#include "kernels/cuda/flashinfer/tile_launch.h"
#include "kernels/cuda/launch.cuh"

namespace lockstep::kernels::cuda {

// Keys of a step, as 16s: the online softmax moves its maximum once a step. 64 keys are what a tile
// of 128 rows has registers for (prefill.cuh:2588), at either head_dim.
inline constexpr std::uint32_t kKeySixteens = 4;
static_assert(kFlashInferChunk % (16 * kKeySixteens) == 0);

// What the kernel reads (BatchPrefillPagedParams in default_prefill_params.cuh), with lengths in
// arrays of their own in place of FlashInfer's: each tile is a request, and all tiles of a sequence
// share its row of the block tables.
template <class Cached>
struct TileParams {
  using DTypeQ = __nv_bfloat16;
  using DTypeKV = Cached;
  using DTypeO = float;  // of parts
  using IdType = std::int32_t;

  DTypeQ* q;
  flashinfer::paged_kv_t<Cached, std::int32_t> paged_kv;
  IdType* q_indptr;
  IdType* o_indptr;
  DTypeO* o;
  float* lse;
  flashinfer::uint_fastdiv group_size;
  IdType q_stride_n;
  IdType q_stride_h;
  std::int32_t window_left;
  float sm_scale;
  IdType* request_indices;
  IdType* qo_tile_indices;
  IdType* kv_tile_indices;
  bool* block_valid_mask;
  IdType* kv_chunk_size_ptr;
  bool partition_kv;
  const IdType* rows;
  const IdType* keys;

  __host__ __device__ __forceinline__ std::uint32_t get_qo_len(std::uint32_t tile) const {
    return static_cast<std::uint32_t>(rows[tile]);
  }
  __host__ __device__ __forceinline__ std::uint32_t get_kv_len(std::uint32_t tile) const {
    return static_cast<std::uint32_t>(keys[tile]);
  }
};

// A block of `kRows` rows: one warp for each 32 of them, each with all keys of a step
// (NUM_WARPS_KV is 1), so that no sum is shared between warps. 16 rows: one warp.
template <std::uint32_t kRows, std::uint32_t kHeadDim, class Cached>
struct Tile {
  static constexpr std::uint32_t kWarps = kRows > 32 ? kRows / 32 : 1;
  static constexpr std::uint32_t kRowSixteens = kRows / 16 / kWarps;
  using Variant = flashinfer::DefaultAttention<false, false, false, false>;
  using Traits = flashinfer::KernelTraits<flashinfer::MaskMode::kCausal, kRows, kRowSixteens,
                                          kKeySixteens, kHeadDim / 16, kHeadDim / 16, kWarps, 1,
                                          flashinfer::PosEncodingMode::kNone, __nv_bfloat16, Cached,
                                          float, float, std::int32_t, Variant>;
  static_assert(!Traits::IsInvalid());
};

template <std::uint32_t kRows, std::uint32_t kHeadDim, class Cached>
void launch_tile(const TileLaunch& launch, StreamHandle stream) {
  using Traits = typename Tile<kRows, kHeadDim, Cached>::Traits;
  using Params = TileParams<Cached>;
  const FlashInferArgs& args = *launch.args;
  const PagedCache& cache = args.cache;
  const auto ints = [&](std::int64_t offset) {  // FlashInfer reads them through plain pointers
    return reinterpret_cast<std::int32_t*>(const_cast<std::byte*>(args.plan) + offset);
  };
  const FlashInferTiles& tiles = launch.tiles;
  Params params{};
  params.q = reinterpret_cast<__nv_bfloat16*>(const_cast<std::uint16_t*>(args.q));
  params.paged_kv = {static_cast<std::uint32_t>(cache.heads),
                     static_cast<std::uint32_t>(cache.block_size),
                     kHeadDim,
                     static_cast<std::uint32_t>(launch.tile_capacity),
                     flashinfer::QKVLayout::kHND,
                     static_cast<Cached*>(cache.keys),
                     static_cast<Cached*>(cache.values),
                     const_cast<std::int32_t*>(args.blocks),
                     ints(tiles.first_block),
                     nullptr};
  params.q_indptr = ints(tiles.first_row);
  params.o_indptr = ints(tiles.first_part);
  params.o = args.values;
  params.lse = args.weights;
  params.group_size =
      flashinfer::uint_fastdiv(static_cast<std::uint32_t>(args.query_heads / cache.heads));
  params.q_stride_n = args.query_heads * static_cast<std::int32_t>(kHeadDim);
  params.q_stride_h = kHeadDim;
  params.window_left = -1;
  params.sm_scale = args.scale * cache.key_scale;
  params.request_indices = ints(tiles.tile) + launch.first_item;
  params.qo_tile_indices = ints(tiles.zeros) + launch.first_item;
  params.kv_tile_indices = ints(tiles.chunk) + launch.first_item;
  params.block_valid_mask =
      reinterpret_cast<bool*>(const_cast<std::byte*>(args.plan) + tiles.valid) + launch.first_item;
  params.kv_chunk_size_ptr = ints(launch.chunk_size);
  params.partition_kv = true;
  params.rows = ints(tiles.rows);
  params.keys = ints(tiles.keys);

  constexpr const char* kName = "attention by FlashInfer";
  const auto kernel = flashinfer::BatchPrefillWithPagedKVCacheKernel<Traits, Params>;
  constexpr std::size_t kSharedBytes = sizeof(typename Traits::SharedStorage);
  check_launch(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(kSharedBytes)),
               kName);
  const dim3 blocks(static_cast<unsigned>(launch.items), 1, static_cast<unsigned>(cache.heads));
  kernel<<<blocks, dim3(32, Traits::NUM_WARPS_Q, 1), kSharedBytes, stream>>>(params);
  check_launch(cudaGetLastError(), kName);
}

}  // namespace lockstep::kernels::cuda

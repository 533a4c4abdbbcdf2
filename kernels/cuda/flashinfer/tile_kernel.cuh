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
#include <flashinfer/attention/variant_helper.cuh>
#include <flashinfer/page.cuh>

#include "kernels/cuda/flashinfer/tile_launch.h"
#include "kernels/cuda/gpu_thread.cuh"
#include "kernels/cuda/launch.cuh"

namespace lockstep::kernels::cuda {

// Keys of a step, as 16s: the online softmax moves its maximum once a step. 64 keys are what a tile
// of 128 rows has registers for (prefill.cuh:2592), at either head_dim.
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
  float scale_log2;  // of scores, to the base 2
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

// Plain softmax of scores that are scaled before they are masked. FlashInfer's DefaultAttention
// scales them afterwards, and its mask is -50000 (math.cuh:32): times a small scale, as that of
// e4m3 keys may be, that is no longer nothing.
struct ScaledAttention : flashinfer::AttentionVariantBase {
  static constexpr float sm_scale_log2 = 1.0f;
  std::uint32_t qo_len, kv_len, window_left;
  float scale;

  template <class Params>
  __device__ __host__ ScaledAttention(const Params& params, std::uint32_t tile, std::uint8_t*)
      : qo_len(params.get_qo_len(tile)),
        kv_len(params.get_kv_len(tile)),
        window_left(kv_len),
        scale(params.scale_log2) {}

  // (Found by name from FlashInfer's kernel.)
  template <class Params, class T>
  __device__ __forceinline__ T LogitsTransform(const Params&, T logit, std::uint32_t, std::uint32_t,
                                               std::uint32_t, std::uint32_t, std::uint32_t) {
    return logit * scale;
  }
};

// A block of `kRows` rows: one warp for each 32 of them, each with all keys of a step
// (NUM_WARPS_KV is 1), so that no sum is shared between warps. 16 rows: one warp.
template <std::uint32_t kRows, std::uint32_t kHeadDim, class Cached>
struct Tile {
  static constexpr std::uint32_t kWarps = kRows > 32 ? kRows / 32 : 1;
  static constexpr std::uint32_t kRowSixteens = kRows / 16 / kWarps;
  using Traits = flashinfer::KernelTraits<flashinfer::MaskMode::kCausal, kRows, kRowSixteens,
                                          kKeySixteens, kHeadDim / 16, kHeadDim / 16, kWarps, 1,
                                          flashinfer::PosEncodingMode::kNone, __nv_bfloat16, Cached,
                                          float, float, std::int32_t, ScaledAttention>;
  static_assert(!Traits::IsInvalid());
};

// FlashInfer's own (BatchPrefillWithPagedKVCacheKernel) lets the next kernel begin only at its end.
template <class Traits, class Params>
__global__ void __launch_bounds__(Traits::NUM_THREADS)
    tile_kernel(const __grid_constant__ Params params) {
  GpuThread thread;
  thread.let_next_begin();
  extern __shared__ std::uint8_t memory[];
  auto& storage = reinterpret_cast<typename Traits::SharedStorage&>(memory);
  flashinfer::BatchPrefillWithPagedKVCacheDevice<Traits>(params, storage);
}

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
  constexpr float kLog2E = 1.44269504f;
  params.scale_log2 = args.scale * cache.key_scale * kLog2E;
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
  const auto kernel = tile_kernel<Traits, Params>;
  constexpr std::size_t kSharedBytes = sizeof(typename Traits::SharedStorage);
  check_launch(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                                    static_cast<int>(kSharedBytes)),
               kName);
  const dim3 blocks(static_cast<unsigned>(launch.items), 1, static_cast<unsigned>(cache.heads));
  // It waits for earlier kernels before it reads what they wrote (prefill.cuh:2147). What it reads
  // before is the plan, which a copy brings in front of the step's first kernel.
  launch_overlapping(kName, kernel, blocks, dim3(32, Traits::NUM_WARPS_Q, 1), kSharedBytes, params,
                     stream);
}

}  // namespace lockstep::kernels::cuda

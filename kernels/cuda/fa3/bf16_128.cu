// FlashInfer's FA3 kernel with all its template parameters fixed, and its arguments. It is
// instantiated here rather than through FlashInfer's dispatch, whose planner shares tiles out to
// multiprocessors: the order of a row's sums is the kernel's own, but the grid is to follow from
// the number of tiles alone.
#include <cuda_runtime.h>

#include <flashinfer/attention/hopper/prefill_sm90.cuh>
#include <flashinfer/attention/hopper/variants.cuh>

#include "base/error.h"
#include "kernels/cuda/attention_backend.h"
#include "kernels/cuda/fa3_attention.h"
#include "kernels/cuda/launch.cuh"

namespace lockstep::kernels::cuda {
namespace {

using Bf16 = cutlass::bfloat16_t;

struct Scale {
  float sm_scale;  // as StandardAttention calls it
};

// 96 keys a step, of which two are under way: FlashInfer's choice for paged caches
// (prefill_sm90.cuh:594). Both are part of the order of sums.
using Traits = flashinfer::AttentionKernelTraits<
    /*USE_TMA_LOAD_KV=*/false, kFa3HeadDim, kFa3HeadDim, kFa3TileRows, /*CTA_KV=*/96,
    /*NUM_STAGES=*/2, Bf16, Bf16, Bf16, std::int32_t, flashinfer::StandardAttention>;
using Mainloop = flashinfer::SparseCollectiveMainloop<Scale, Traits, /*CAUSAL=*/true>;
using Epilogue = flashinfer::CollectiveEpilogue<Traits>;
using Scheduler = flashinfer::BatchPrefillTileScheduler<std::int32_t>;

void check(const Fa3Args& args) {
  const bool whole = args.cache.heads > 0 && args.query_heads % args.cache.heads == 0;
  (void)choose_attention(AttentionBackend::fa3,
                         {.head_dim = args.cache.head_dim,
                          .key_value_heads = args.cache.heads,
                          .model_group = 1,
                          .format = args.cache.format,
                          .group = whole ? args.query_heads / args.cache.heads : 0,
                          .flashinfer_built_in = true,
                          .fa3_there = true});
}

Mainloop::Params mainloop_of(const Fa3Args& args) {
  const PagedCache& cache = args.cache;
  const std::int64_t head = std::int64_t{cache.block_size} * cache.head_dim;
  const auto of_cache = flashinfer::get_gmem_layout(0, cache.heads, cache.head_dim,
                                                    std::int64_t{cache.head_dim}, head);
  return Mainloop::to_underlying_arguments(
      {.Q_ptr = reinterpret_cast<const Bf16*>(args.q),
       .layout_Q = flashinfer::get_gmem_layout(args.rows, args.query_heads, cache.head_dim,
                                               std::int64_t{args.query_heads} * cache.head_dim,
                                               std::int64_t{cache.head_dim}),
       .K_ptr = static_cast<const Bf16*>(cache.keys),
       .layout_K = of_cache,
       .V_ptr = static_cast<const Bf16*>(cache.values),
       .layout_V = of_cache,
       .kv_indices = args.blocks,
       .window_left = -1,
       .k_page_stride = cache.heads * head,
       .v_page_stride = cache.heads * head,
       .page_size = static_cast<std::uint32_t>(cache.block_size),
       .additional_params = {args.scale}});
}

Epilogue::Params epilogue_of(const Fa3Args& args) {
  return Epilogue::to_underlying_arguments(
      {reinterpret_cast<Bf16*>(args.out),
       flashinfer::get_gmem_layout(args.rows, args.query_heads, args.cache.head_dim,
                                   std::int64_t{args.query_heads} * args.cache.head_dim,
                                   std::int64_t{args.cache.head_dim}),
       nullptr, flashinfer::get_lse_gmem_layout(args.rows, args.query_heads)});
}

Scheduler::Params schedule_of(const Fa3Args& args, const Fa3Layout& layout) {
  const auto ints = [&](std::int64_t offset) {
    return reinterpret_cast<std::int32_t*>(const_cast<std::byte*>(args.plan) + offset);
  };
  return Scheduler::to_underlying_arguments(
      {.work_indptr = ints(layout.ends),
       .head_indices = nullptr,
       .qo_tile_indices = ints(layout.zeros),
       .qo_indptr = ints(layout.first_row),
       .kv_indptr = ints(layout.first_block),
       .qo_lens = ints(layout.rows),
       .kv_lens = ints(layout.keys),
       .batch_indices = ints(layout.zeros),
       .group_size_fastdiv = cutlass::FastDivmod(args.query_heads / args.cache.heads),
       .num_qo_heads = args.query_heads});
}

}  // namespace

bool fa3_built_in() { return true; }

void launch_fa3(const Fa3Args& args, const Fa3Layout& layout, StreamHandle stream) {
  check(args);
  if (layout.tiles == 0) return;
  const auto kernel = flashinfer::PrefillWithKVCacheKernel<Mainloop, Epilogue, Traits,
                                                           /*LEFT_SLIDING_WINDOW=*/false,
                                                           /*CAUSAL=*/true, Scheduler>;
  constexpr int kSharedBytes = sizeof(Traits::SharedStorage);
  check_launch(
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes),
      "FA3");
  const dim3 blocks(static_cast<unsigned>(layout.tiles), static_cast<unsigned>(args.query_heads));
  kernel<<<blocks, Traits::NUM_THREADS, kSharedBytes, stream>>>(
      mainloop_of(args), epilogue_of(args), schedule_of(args, layout));
  check_launch(cudaGetLastError(), "FA3");
}

}  // namespace lockstep::kernels::cuda

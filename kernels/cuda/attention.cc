#include "kernels/cuda/attention.h"

#include <algorithm>
#include <string>

#include "base/error.h"

namespace lockstep::kernels::cuda {

std::vector<HeadRun> head_runs(std::span<const std::int32_t> first_query) {
  std::vector<HeadRun> runs;
  for (std::size_t head = 0; head + 1 < first_query.size(); ++head) {
    for (std::int32_t query = first_query[head]; query < first_query[head + 1];
         query += kRunHeads) {
      runs.push_back({static_cast<std::int32_t>(head), query,
                      std::min(kRunHeads, first_query[head + 1] - query)});
    }
  }
  return runs;
}

Grid attention_grid(const AttentionArgs& args) {
  const std::int32_t head_dim = args.cache.head_dim;
  if (head_dim < 32 || head_dim > kMaxHeadDim || head_dim % 32 != 0) {
    throw Error("head_dim " + std::to_string(head_dim) + ": attention on CUDA takes multiples of " +
                "32 up to " + std::to_string(kMaxHeadDim));
  }
  return {.x = std::int64_t{args.rows} * args.num_runs,
          .y = args.parts == nullptr ? 1 : args.chunks,
          .threads = AttentionMemory::kThreads,
          .shared_bytes = AttentionMemory{head_dim}.bytes()};
}

Grid combine_grid(const AttentionArgs& args) {
  constexpr std::int32_t kThreads = 128;
  return {.x = args.rows,
          .y = divide_up(std::int64_t{args.query_heads} * args.cache.head_dim, kThreads),
          .threads = kThreads};
}

}  // namespace lockstep::kernels::cuda

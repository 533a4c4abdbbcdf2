// FlashInfer's FA3 kernel as its plan means it, in double precision. Indices are worked out as in
// PrefillWithKVCacheKernel and SparseCollectiveMainloop (FlashInfer 0.6.7.post3,
// include/flashinfer/attention/hopper/prefill_sm90.cuh, sparse_mainloop.cuh, mainloop_mma.cuh).
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "kernels/cuda/fa3_attention.h"
#include "kernels/half.h"

namespace lockstep::kernels::cuda {

// `keys`, `values`: the cache's numbers.
inline void attend_by_fa3(const Fa3Args& args, const Fa3Layout& layout,
                          const std::vector<float>& keys, const std::vector<float>& values) {
  const auto ints = [&](std::int64_t offset) {
    return reinterpret_cast<const std::int32_t*>(args.plan + offset);
  };
  const PagedCache& cache = args.cache;
  const std::int32_t group = args.query_heads / cache.heads, dim = cache.head_dim;
  const auto attend = [&](std::int64_t row, std::int32_t head, std::int32_t seen,
                          const std::int32_t* blocks) {
    const std::int64_t first = (row * args.query_heads + head) * dim;
    const auto cached = [&](std::int32_t position) {
      return static_cast<std::size_t>(
          cache.at(blocks[position / cache.block_size], head / group, position % cache.block_size));
    };
    std::vector<double> scores;
    for (std::int32_t position = 0; position < seen; ++position) {
      double score = 0;
      for (std::int32_t i = 0; i < dim; ++i) {
        score += double{bf16_to_float(args.q[first + i])} *
                 keys[cached(position) + static_cast<std::size_t>(i)];
      }
      scores.push_back(score * args.scale);
    }
    const double largest = *std::ranges::max_element(scores);
    double sum = 0;
    for (double& score : scores) sum += score = std::exp(score - largest);
    for (std::int32_t i = 0; i < dim; ++i) {
      double value = 0;
      for (std::int32_t position = 0; position < seen; ++position) {
        value += scores[static_cast<std::size_t>(position)] *
                 values[cached(position) + static_cast<std::size_t>(i)];
      }
      args.out[first + i] = float_to_bf16(static_cast<float>(value / sum));
    }
  };
  for (std::int32_t block = 0; block < layout.tiles; ++block) {
    for (std::int32_t i = ints(layout.ends)[block]; i < ints(layout.ends)[block + 1]; ++i) {
      const std::int32_t rows = ints(layout.rows)[i], all = ints(layout.keys)[i];
      const std::int32_t before = ints(layout.zeros)[i] * kFa3TileRows;
      for (std::int32_t row = before; row < std::min(rows, before + kFa3TileRows); ++row) {
        for (std::int32_t head = 0; head < args.query_heads; ++head) {
          attend(ints(layout.first_row)[i] + std::int64_t{row}, head, row + 1 + all - rows,
                 args.blocks + ints(layout.first_block)[i]);
        }
      }
    }
  }
}

}  // namespace lockstep::kernels::cuda

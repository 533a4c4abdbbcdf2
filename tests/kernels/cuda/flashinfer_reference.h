// FlashInfer's kernel of paged attention as its plan means it: one item after the other, in double
// precision. Indices are worked out as in BatchPrefillWithPagedKVCacheDevice (FlashInfer
// 0.6.7.post3, include/flashinfer/attention/prefill.cuh:2025-2412); what it leaves in a chunk that
// a row has no keys of is anything here, as it is there.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "kernels/cuda/flashinfer_plan.h"

namespace lockstep::kernels::cuda {

// Keys and values are [blocks, heads, block_size, head_dim], queries [rows, query_heads, head_dim].
struct ReferenceModel {
  std::int32_t heads = 2, group = 1, block_size = 16, head_dim = 4;
  std::vector<std::int32_t> table;
  std::vector<float> keys, values, queries;
  double scale = 0.5;
  std::int32_t query_heads() const { return heads * group; }
};

struct ReferenceParts {
  std::vector<float> values;   // [parts, query_heads, head_dim]
  std::vector<float> weights;  // [parts, query_heads]
  std::vector<int> writes;     // of each weight
};

class FlashInferReference {
 public:
  FlashInferReference(const ReferenceModel& model, const FlashInferLayout& layout,
                      const std::vector<std::byte>& plan)
      : model_(model), layout_(layout), plan_(plan) {}

  ReferenceParts run(const FlashInferWave& wave) const {
    const auto parts = static_cast<std::size_t>(layout_.limits.parts);
    const auto heads = static_cast<std::size_t>(model_.query_heads());
    ReferenceParts out{
        .values = std::vector<float>(parts * heads * static_cast<std::size_t>(model_.head_dim)),
        .weights = std::vector<float>(parts * heads),
        .writes = std::vector<int>(parts * heads)};
    run_items(layout_.short_tiles, kShortTile, wave.first_short_item, wave.short_items, out);
    run_items(layout_.long_tiles, kLongTile, wave.first_long_item, wave.long_items, out);
    return out;
  }

 private:
  const std::int32_t* ints(std::int64_t offset) const {
    return reinterpret_cast<const std::int32_t*>(plan_.data() + offset);
  }

  void run_items(const FlashInferTiles& tiles, std::int32_t tile_size, std::int32_t first,
                 std::int32_t items, ReferenceParts& out) const {
    for (std::int32_t item = first; item < first + items; ++item) {
      if (plan_[static_cast<std::size_t>(tiles.valid + item)] == std::byte{0}) continue;
      for (std::int32_t head = 0; head < model_.heads; ++head) {
        for (std::int32_t packed = 0; packed < tile_size; ++packed) {
          run_row(tiles, item, head, packed / model_.group, packed % model_.group, out);
        }
      }
    }
  }

  void run_row(const FlashInferTiles& tiles, std::int32_t item, std::int32_t head, std::int32_t q,
               std::int32_t r, ReferenceParts& out) const {
    const std::int32_t tile = ints(tiles.tile)[item], chunk = ints(tiles.chunk)[item];
    const std::int32_t rows = ints(tiles.rows)[tile], keys = ints(tiles.keys)[tile];
    if (q >= rows) return;
    const std::int32_t size = *ints(layout_.chunk_size);
    const std::int32_t begin = std::min(chunk * size, keys);
    const std::int32_t end = std::min((chunk + 1) * size, keys);
    const std::int32_t chunks = (keys + size - 1) / size;
    const std::int32_t query_head = head * model_.group + r;
    const std::int64_t row = ints(tiles.first_row)[tile] + q;
    const std::int64_t part = ints(tiles.first_part)[tile] + std::int64_t{q} * chunks + chunk;
    const auto place = static_cast<std::size_t>(part * model_.query_heads() + query_head);

    std::vector<double> scores;
    std::vector<const float*> seen;
    for (std::int32_t key = begin; key < end && key + rows <= keys + q; ++key) {
      const std::int32_t packed = ints(tiles.first_block)[tile] * model_.block_size + key;
      const std::int64_t block = model_.table[static_cast<std::size_t>(packed / model_.block_size)];
      const auto at = static_cast<std::size_t>(
          ((block * model_.heads + head) * model_.block_size + packed % model_.block_size) *
          model_.head_dim);
      double dot = 0;
      for (std::int32_t d = 0; d < model_.head_dim; ++d) {
        dot += double{model_.queries[static_cast<std::size_t>(
                   (row * model_.query_heads() + query_head) * model_.head_dim + d)]} *
               model_.keys[at + static_cast<std::size_t>(d)];
      }
      scores.push_back(dot * model_.scale);
      seen.push_back(&model_.values[at]);
    }
    ++out.writes[place];
    float* value = &out.values[place * static_cast<std::size_t>(model_.head_dim)];
    if (seen.empty()) {
      std::fill_n(value, model_.head_dim, 12345.0f);
      out.weights[place] = 7.0f;
      return;
    }
    const double largest = *std::max_element(scores.begin(), scores.end());
    double sum = 0;
    std::vector<double> total(static_cast<std::size_t>(model_.head_dim));
    for (std::size_t i = 0; i < seen.size(); ++i) {
      const double weight = std::exp(scores[i] - largest);
      sum += weight;
      for (std::size_t d = 0; d < total.size(); ++d) total[d] += weight * seen[i][d];
    }
    for (std::size_t d = 0; d < total.size(); ++d) value[d] = static_cast<float>(total[d] / sum);
    out.weights[place] = static_cast<float>((largest + std::log(sum)) / std::log(2.0));
  }

  const ReferenceModel& model_;
  const FlashInferLayout& layout_;
  const std::vector<std::byte>& plan_;
};

}  // namespace lockstep::kernels::cuda

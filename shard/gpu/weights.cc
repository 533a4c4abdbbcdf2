#include "shard/gpu/weights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "base/error.h"
#include "kernels/thread_pool.h"
#include "shard/gpu/load_plan.h"
#include "shard/gpu/runner_sizes.h"
#include "shard/gpu/staging.h"
#include "shard/gpu/weight_slab.h"
#include "shard/weight_check.h"

namespace lockstep::shard {
namespace {

using kernels::cuda::TileFormat;
using model::Tensor;

constexpr char kLabel[] = "weights";
// What one thread packs at a time, about.
constexpr std::size_t kSlabBytes = 1 << 20;

class Loader {
 public:
  Loader(const model::Model& model, const GpuLoadOptions& options, kernels::cuda::Gpu& gpu)
      : model_(model),
        fp8_(options.fp8),
        plain_(options.plain),
        gpu_(gpu),
        pool_({.size = options.threads, .spin = false}),
        staging_(gpu, options.staging_bytes) {}

  // The parts' elements in f32, one after the other. Of no part: empty.
  kernels::device::Allocation vector(std::span<const VectorPart> parts) {
    std::vector<float> values;
    for (const VectorPart& part : parts) {
      const std::array shape{part.size};
      const auto all = vector_values(model_.tensors->require(part.tensor, shape));
      values.insert(values.end(), all.begin() + part.range.begin, all.begin() + part.range.end);
    }
    if (values.empty()) return {};
    return uploaded(std::as_bytes(std::span(values)));
  }
  kernels::device::Allocation vector(const VectorPart& part) { return vector({&part, 1}); }

  // The parts' rows, `order`ed where they have one format and are not plain; else a matrix each.
  enum class Order { below_each_other, by_turns };
  std::vector<GpuMatrix> matrices(const std::vector<MatrixPart>& parts, Order order) {
    const auto format = [this](const MatrixPart& part) { return tile_format(require(part), fp8_); };
    const bool alike = std::ranges::all_of(
        parts, [&](const MatrixPart& part) { return format(part) == format(parts[0]); });
    std::vector<GpuMatrix> result;
    if (alike) {
      result.push_back(matrix(parts, format(parts[0]), plain_, order));
    } else {
      for (const MatrixPart& part : parts)
        result.push_back(matrix({&part, 1}, format(part), false));
    }
    return result;
  }
  GpuMatrix matrix(const MatrixPart& part) {
    return matrix({&part, 1}, tile_format(require(part), fp8_), false);
  }
  // The embedding is looked up in bf16; the head keeps more than eight bits, too.
  GpuMatrix embedding(const MatrixPart& part) {
    return matrix({&part, 1}, TileFormat::bf16, plain_);
  }
  GpuMatrix head(const MatrixPart& part) {
    return matrix({&part, 1}, tile_format(require(part), false), plain_);
  }

  void finish() { staging_.finish(); }

 private:
  const Tensor& require(const MatrixPart& part) const {
    const std::array shape{part.out_features, part.in_features};
    return model_.tensors->require(part.tensor, shape);
  }

  kernels::device::Allocation uploaded(std::span<const std::byte> bytes) {
    auto memory = gpu_.memory().allocate(kLabel, bytes.size());
    staging_.send_all(memory.data(), bytes);
    return memory;
  }

  // `plain`: if the format is bf16. A tile's rows are as many there, and take as much memory.
  GpuMatrix matrix(std::span<const MatrixPart> parts, TileFormat format, bool plain,
                   Order order = Order::below_each_other) {
    static_assert(kernels::cuda::rows_of_tile(TileFormat::bf16) == kernels::cuda::kPlainRows);
    std::vector<StoredPart> stored;
    std::int32_t rows = 0;
    for (const MatrixPart& part : parts) {
      stored.push_back({&require(part), part.rows, part.columns, model_.config.head_dim});
      refuse_nan(model_.path, require(part), part.rows, part.columns, pool_);
      rows += part.rows.size();
    }
    const std::int32_t groups = parts[0].columns.size() / kernels::kGroup;
    const std::int32_t tile_rows = rows_of_tile(format);
    const auto tile_row_bytes = static_cast<std::size_t>(groups) * bytes_of_tile(format);
    const auto tile_row_count = static_cast<std::size_t>((rows + tile_rows - 1) / tile_rows);
    GpuMatrix matrix;
    matrix.plain = plain && format == TileFormat::bf16;
    if (order == Order::by_turns && !matrix.plain) stored = by_turns(stored);
    const auto tile_row_scales = static_cast<std::size_t>(scales_of_tile_row(format, groups));
    matrix.tiles = gpu_.memory().allocate(kLabel, tile_row_count * tile_row_bytes);
    std::vector<float> scales(tile_row_count * tile_row_scales);
    const Slabs slabs{stored, format, matrix.plain, rows, tile_row_bytes, tile_row_scales, scales};
    const std::size_t fit = staging_.buffer().size() / std::max<std::size_t>(tile_row_bytes, 1);
    if (fit == 0) {
      throw Error("staging_bytes is " + std::to_string(staging_.buffer().size()) +
                  ": a row of tiles of " + parts[0].tensor + " needs " +
                  std::to_string(tile_row_bytes));
    }
    for (std::size_t first = 0; first < tile_row_count; first += fit) {
      const std::size_t count = std::min(fit, tile_row_count - first);
      pack(slabs, first, count);
      staging_.send(static_cast<std::byte*>(matrix.tiles.data()) + first * tile_row_bytes,
                    count * tile_row_bytes);
    }
    for (const MatrixPart& part : parts) model_.tensors->release(require(part));
    if (!scales.empty()) matrix.scales = uploaded(std::as_bytes(std::span(scales)));
    matrix.view = {format, static_cast<const std::byte*>(matrix.tiles.data()),
                   static_cast<const float*>(matrix.scales.data()), rows, groups};
    return matrix;
  }

  // Of two parts with as many rows: kTurn rows of one, then as many of the other, and so on.
  static std::vector<StoredPart> by_turns(const std::vector<StoredPart>& parts) {
    std::vector<StoredPart> turns;
    for (std::int32_t i = 0; i < parts[0].rows.size(); i += kernels::cuda::kTurn) {
      for (const StoredPart& part : parts) {
        StoredPart& turn = turns.emplace_back(part);
        turn.rows.begin += i;
        turn.rows.end = turn.rows.begin + kernels::cuda::kTurn;
      }
    }
    return turns;
  }

  struct Slabs {
    std::span<const StoredPart> parts;
    TileFormat format;
    bool plain;
    std::int32_t rows;
    std::size_t tile_row_bytes, tile_row_scales;
    std::span<float> scales;  // of all rows of tiles; empty: the format has none
  };

  // Packs `count` rows of tiles from the `first` on into the staging buffer, a slab at a time.
  void pack(const Slabs& slabs, std::size_t first, std::size_t count) {
    const std::size_t per_slab =
        std::max<std::size_t>(kSlabBytes / std::max<std::size_t>(slabs.tile_row_bytes, 1), 1);
    const auto num_slabs = static_cast<std::ptrdiff_t>((count + per_slab - 1) / per_slab);
    const std::int32_t tile_rows = rows_of_tile(slabs.format);
    std::byte* const out = staging_.buffer().data();
    pool_.for_ranges(num_slabs, [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
      for (auto slab = static_cast<std::size_t>(begin); slab < static_cast<std::size_t>(end);
           ++slab) {
        const std::size_t from = slab * per_slab;
        const std::size_t to = std::min(from + per_slab, count);
        const auto begin_row = static_cast<std::int32_t>(first + from) * tile_rows;
        const auto end_row =
            std::min(static_cast<std::int32_t>(first + to) * tile_rows, slabs.rows);
        std::byte* const slab_out = out + from * slabs.tile_row_bytes;
        if (slabs.plain) {
          const auto values = plain_rows(slabs.parts, begin_row, end_row);
          std::ranges::copy(std::as_bytes(std::span(values)), slab_out);
          std::fill(slab_out + values.size() * sizeof(values[0]),
                    slab_out + (to - from) * slabs.tile_row_bytes, std::byte{0});
          continue;
        }
        const auto packed = pack_rows(slabs.parts, slabs.format, begin_row, end_row);
        std::ranges::copy(packed.tiles, slab_out);
        std::ranges::copy(packed.scales,
                          slabs.scales.subspan((first + from) * slabs.tile_row_scales).begin());
      }
    });
  }

  const model::Model& model_;
  const bool fp8_, plain_;
  kernels::cuda::Gpu& gpu_;
  kernels::ThreadPool pool_;
  Staging staging_;
};

}  // namespace

std::size_t GpuWeights::bytes() const {
  std::size_t total = embedding.bytes() + head.bytes() + final_norm.size();
  for (const GpuLayerWeights& layer : layers) {
    for (const auto* vector : {&layer.input_norm, &layer.post_attention_norm, &layer.qkv_bias,
                               &layer.query_norm, &layer.key_norm}) {
      total += vector->size();
    }
    total += layer.o.bytes() + layer.down.bytes();
    for (const GpuMatrix& matrix : layer.qkv) total += matrix.bytes();
    for (const GpuMatrix& matrix : layer.gate_up) total += matrix.bytes();
  }
  return total;
}

GpuWeights load_gpu_weights(const model::Model& model, const Partition& part,
                            kernels::cuda::Gpu& gpu, const GpuLoadOptions& options) {
  require_gpu_serves(model.config);
  const RankParts parts = rank_parts(model.config, part);
  Loader loader(model, options, gpu);
  GpuWeights weights;
  if (parts.embedding) weights.embedding = loader.embedding(*parts.embedding);
  if (parts.final_norm) weights.final_norm = loader.vector(*parts.final_norm);
  if (parts.head) weights.head = loader.head(*parts.head);
  for (const LayerParts& from : parts.layers) {
    GpuLayerWeights& layer = weights.layers.emplace_back();
    layer.input_norm = loader.vector(from.input_norm);
    layer.post_attention_norm = loader.vector(from.post_attention_norm);
    layer.qkv_bias = loader.vector(from.qkv_bias);
    if (from.query_norm) layer.query_norm = loader.vector(*from.query_norm);
    if (from.key_norm) layer.key_norm = loader.vector(*from.key_norm);
    layer.qkv = loader.matrices(from.qkv, Loader::Order::below_each_other);
    layer.o = loader.matrix(from.o);
    layer.gate_up = loader.matrices(from.gate_up, Loader::Order::by_turns);
    layer.down = loader.matrix(from.down);
  }
  loader.finish();
  return weights;
}

}  // namespace lockstep::shard

#include "shard/gpu/weights.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <string>

#include "base/error.h"
#include "kernels/half.h"
#include "kernels/weight_format.h"

namespace lockstep::shard {
namespace {

using kernels::DType;
using model::Tensor;

constexpr char kLabel[] = "weights";

float element(const Tensor& tensor, std::int64_t i) {
  const std::byte* data = tensor.data.data();
  if (tensor.dtype == DType::f32) {
    float value;
    std::memcpy(&value, data + i * 4, 4);
    return value;
  }
  std::uint16_t bits;
  std::memcpy(&bits, data + i * 2, 2);
  return tensor.dtype == DType::bf16 ? kernels::bf16_to_float(bits) : kernels::f16_to_float(bits);
}

bool is_single_values(const Tensor& tensor) {
  return tensor.dtype == DType::f32 || tensor.dtype == DType::f16 || tensor.dtype == DType::bf16;
}

// What a matrix is packed as. What the CPU keeps in four bits with a scale and a minimum is kept
// so, exactly as there; all else is rounded to bf16.
kernels::cuda::TileFormat tile_format(const Tensor& tensor) {
  const kernels::WeightFormat& format = kernels::weight_format(tensor.dtype);
  if (!format.packed) {
    throw Error(tensor.name + ": " + std::string(format.name) + " is not a type of weights");
  }
  return *format.packed == kernels::PackedFormat::q4 ? kernels::cuda::TileFormat::int4_group
                                                     : kernels::cuda::TileFormat::bf16;
}

// Hugging Face's row `row` of a projection with heads of `head_dim`, as it is stored.
std::int64_t stored_row(const Tensor& tensor, std::int64_t row, std::int64_t head_dim) {
  if (!tensor.rope_interleaved) return row;
  const std::int64_t in_head = row % head_dim, half = head_dim / 2;
  return row - in_head + (in_head < half ? 2 * in_head : 2 * (in_head - half) + 1);
}

// Part of a matrix.
struct Piece {
  std::string name;
  std::int64_t out_features, in_features;
  Range rows, columns;
};

class Loader {
 public:
  Loader(const model::Model& model, kernels::cuda::Gpu& gpu) : model_(model), gpu_(gpu) {}

  kernels::device::Allocation vector(const std::string& name) {
    const std::array shape{model_.config.hidden_size};
    const Tensor& tensor = model_.tensors->require(name, shape);
    if (!is_single_values(tensor)) {
      throw Error(name + " is " + std::string(kernels::name(tensor.dtype)) +
                  ": a norm must be f32, f16 or bf16");
    }
    std::vector<float> values;
    for (std::int64_t i = 0; i < shape[0]; ++i) values.push_back(element(tensor, i));
    return upload(std::as_bytes(std::span(values)));
  }

  // The pieces' rows, one below the other, where they have one format; else a matrix each.
  std::vector<GpuMatrix> matrices(const std::vector<Piece>& pieces) {
    const auto format = [this](const Piece& piece) { return tile_format(require(piece)); };
    const bool alike = std::ranges::all_of(
        pieces, [&](const Piece& piece) { return format(piece) == format(pieces[0]); });
    std::vector<GpuMatrix> result;
    if (alike) {
      result.push_back(matrix(pieces, format(pieces[0])));
    } else {
      for (const Piece& piece : pieces) result.push_back(matrix({piece}, format(piece)));
    }
    return result;
  }
  GpuMatrix matrix(const Piece& piece) { return matrix({piece}, tile_format(require(piece))); }

  // REQUIRES for int4_group: tile_format() is so for every piece.
  GpuMatrix matrix(const std::vector<Piece>& pieces, kernels::cuda::TileFormat format) {
    std::vector<std::uint16_t> values;
    std::vector<kernels::cuda::Int4Group> groups;
    std::int32_t rows = 0;
    for (const Piece& piece : pieces) {
      const Tensor& tensor = require(piece);
      for (std::int64_t row = piece.rows.begin; row < piece.rows.end; ++row) {
        const std::int64_t stored = stored_row(tensor, row, model_.config.head_dim);
        if (format == kernels::cuda::TileFormat::int4_group) {
          add_groups(tensor, stored, piece.columns, groups);
        } else {
          add_values(tensor, stored, piece.columns, values);
        }
      }
      rows += piece.rows.size();
      model_.tensors->release(tensor);
    }
    const std::int32_t columns = pieces[0].columns.size();
    const auto host = format == kernels::cuda::TileFormat::int4_group
                          ? kernels::cuda::pack_int4(groups, rows, columns)
                          : kernels::cuda::pack_bf16(values, rows, columns);
    GpuMatrix matrix;
    matrix.tiles = upload(host.tiles);
    matrix.view = {host.format, static_cast<const std::byte*>(matrix.tiles.data()), nullptr,
                   host.rows, host.groups};
    return matrix;
  }

 private:
  const Tensor& require(const Piece& piece) const {
    const std::array shape{piece.out_features, piece.in_features};
    return model_.tensors->require(piece.name, shape);
  }

  static void add_groups(const Tensor& tensor, std::int64_t row, Range columns,
                         std::vector<kernels::cuda::Int4Group>& groups) {
    const auto read = kernels::weight_format(tensor.dtype).read_group;
    for (std::int64_t i = columns.begin / kernels::kGroup; i < columns.end / kernels::kGroup; ++i) {
      const kernels::QuantizedGroup group = read(tensor.matrix(), row, i);
      kernels::cuda::Int4Group& added = groups.emplace_back();
      std::ranges::copy(group.values, added.values);
      added.scale = group.scale;
      added.minimum = group.minimum;
    }
  }

  static void add_values(const Tensor& tensor, std::int64_t row, Range columns,
                         std::vector<std::uint16_t>& values) {
    if (is_single_values(tensor)) {
      for (std::int64_t i = columns.begin; i < columns.end; ++i) {
        values.push_back(kernels::float_to_bf16(element(tensor, row * tensor.columns() + i)));
      }
      return;
    }
    const auto read = kernels::weight_format(tensor.dtype).read_group;
    for (std::int64_t i = columns.begin / kernels::kGroup; i < columns.end / kernels::kGroup; ++i) {
      const kernels::QuantizedGroup group = read(tensor.matrix(), row, i);
      const float scale = kernels::f16_to_float(group.scale);
      const float minimum = kernels::f16_to_float(group.minimum);
      for (const std::int8_t value : group.values) {
        values.push_back(
            kernels::float_to_bf16(std::fmaf(scale, static_cast<float>(value), minimum)));
      }
    }
  }

  kernels::device::Allocation upload(std::span<const std::byte> bytes) {
    auto memory = gpu_.memory().allocate(kLabel, bytes.size());
    if (bytes.empty()) return memory;
    const auto pinned = gpu_.pinned_memory().allocate(kLabel, bytes.size());
    std::ranges::copy(bytes, static_cast<std::byte*>(pinned.data()));
    gpu_.upload(memory.data(), {static_cast<const std::byte*>(pinned.data()), bytes.size()},
                kLabel);
    gpu_.synchronize(kLabel);
    return memory;
  }

  const model::Model& model_;
  kernels::cuda::Gpu& gpu_;
};

}  // namespace

std::size_t GpuWeights::bytes() const {
  std::size_t total = embedding.bytes() + head.bytes() + final_norm.size();
  for (const GpuLayerWeights& layer : layers) {
    total += layer.input_norm.size() + layer.post_attention_norm.size() + layer.o.bytes() +
             layer.down.bytes();
    for (const GpuMatrix& matrix : layer.qkv) total += matrix.bytes();
    for (const GpuMatrix& matrix : layer.gate_up) total += matrix.bytes();
  }
  return total;
}

GpuWeights load_gpu_weights(const model::Model& model, const Partition& part,
                            kernels::cuda::Gpu& gpu) {
  const model::ModelConfig& config = model.config;
  const std::int64_t hidden = config.hidden_size, ffn = config.intermediate_size;
  const std::int64_t dim = config.head_dim;
  const std::int64_t all_q = config.num_attention_heads * dim;
  const std::int64_t all_kv = config.num_key_value_heads * dim;
  const auto times = [](Range range, std::int64_t factor) {
    return Range{static_cast<std::int32_t>(range.begin * factor),
                 static_cast<std::int32_t>(range.end * factor)};
  };
  const Range all = times({0, 1}, hidden);
  const Range q = times(part.query_heads, dim), kv = times(part.key_value_heads, dim);
  const Range inner = times({mlp_lane_groups(config, part.mlp_lanes.begin).begin,
                             mlp_lane_groups(config, part.mlp_lanes.end - 1).end},
                            32);
  Loader loader(model, gpu);
  GpuWeights weights;
  if (part.embeds() || (part.has_head(config) && config.tie_word_embeddings)) {
    weights.embedding = loader.matrix(
        {{"model.embed_tokens.weight", config.vocab_size, hidden, part.vocabulary, all}},
        kernels::cuda::TileFormat::bf16);
  }
  if (part.has_head(config)) {
    weights.final_norm = loader.vector("model.norm.weight");
    if (!config.tie_word_embeddings) {
      weights.head =
          loader.matrix({"lm_head.weight", config.vocab_size, hidden, part.vocabulary, all});
    }
  }
  for (std::int32_t i = part.layers.begin; i < part.layers.end; ++i) {
    const std::string scope = "model.layers." + std::to_string(i) + ".";
    const std::string attention = scope + "self_attn.", mlp = scope + "mlp.";
    GpuLayerWeights& layer = weights.layers.emplace_back();
    layer.input_norm = loader.vector(scope + "input_layernorm.weight");
    layer.post_attention_norm = loader.vector(scope + "post_attention_layernorm.weight");
    layer.qkv = loader.matrices({{attention + "q_proj.weight", all_q, hidden, q, all},
                                 {attention + "k_proj.weight", all_kv, hidden, kv, all},
                                 {attention + "v_proj.weight", all_kv, hidden, kv, all}});
    layer.o = loader.matrix({attention + "o_proj.weight", hidden, all_q, all, q});
    layer.gate_up = loader.matrices({{mlp + "gate_proj.weight", ffn, hidden, inner, all},
                                     {mlp + "up_proj.weight", ffn, hidden, inner, all}});
    layer.down = loader.matrix({mlp + "down_proj.weight", hidden, ffn, all, inner});
  }
  return weights;
}

}  // namespace lockstep::shard

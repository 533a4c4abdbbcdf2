#include "shard/gpu/weights.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "base/error.h"
#include "kernels/half.h"

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

void require_dense(const Tensor& tensor) {
  if (tensor.dtype == DType::f32 || tensor.dtype == DType::f16 || tensor.dtype == DType::bf16) {
    return;
  }
  throw Error(tensor.name + ": " + std::string(kernels::name(tensor.dtype)) +
              " has no tile format on GPUs yet: bf16, f16 and f32 have");
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
    require_dense(tensor);
    std::vector<float> values;
    for (std::int64_t i = 0; i < shape[0]; ++i) values.push_back(element(tensor, i));
    return upload(std::as_bytes(std::span(values)));
  }

  // The pieces' rows, one below the other. bf16.
  GpuMatrix matrix(const std::vector<Piece>& pieces) {
    std::vector<std::uint16_t> values;
    std::int32_t rows = 0;
    for (const Piece& piece : pieces) {
      const std::array shape{piece.out_features, piece.in_features};
      const Tensor& tensor = model_.tensors->require(piece.name, shape);
      require_dense(tensor);
      for (std::int64_t row = piece.rows.begin; row < piece.rows.end; ++row) {
        const std::int64_t first =
            stored_row(tensor, row, model_.config.head_dim) * piece.in_features;
        for (std::int64_t i = piece.columns.begin; i < piece.columns.end; ++i) {
          values.push_back(kernels::float_to_bf16(element(tensor, first + i)));
        }
      }
      rows += piece.rows.size();
      model_.tensors->release(tensor);
    }
    const auto host = kernels::cuda::pack_bf16(values, rows, pieces[0].columns.size());
    GpuMatrix matrix;
    matrix.tiles = upload(host.tiles);
    matrix.view = {host.format, static_cast<const std::byte*>(matrix.tiles.data()), nullptr,
                   host.rows, host.groups};
    return matrix;
  }

 private:
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
        {{"model.embed_tokens.weight", config.vocab_size, hidden, part.vocabulary, all}});
  }
  if (part.has_head(config)) {
    weights.final_norm = loader.vector("model.norm.weight");
    if (!config.tie_word_embeddings) {
      weights.head =
          loader.matrix({{"lm_head.weight", config.vocab_size, hidden, part.vocabulary, all}});
    }
  }
  for (std::int32_t i = part.layers.begin; i < part.layers.end; ++i) {
    const std::string scope = "model.layers." + std::to_string(i) + ".";
    const std::string attention = scope + "self_attn.", mlp = scope + "mlp.";
    GpuLayerWeights& layer = weights.layers.emplace_back();
    layer.input_norm = loader.vector(scope + "input_layernorm.weight");
    layer.post_attention_norm = loader.vector(scope + "post_attention_layernorm.weight");
    layer.qkv.push_back(loader.matrix({{attention + "q_proj.weight", all_q, hidden, q, all},
                                       {attention + "k_proj.weight", all_kv, hidden, kv, all},
                                       {attention + "v_proj.weight", all_kv, hidden, kv, all}}));
    layer.o = loader.matrix({{attention + "o_proj.weight", hidden, all_q, all, q}});
    layer.gate_up.push_back(loader.matrix({{mlp + "gate_proj.weight", ffn, hidden, inner, all},
                                           {mlp + "up_proj.weight", ffn, hidden, inner, all}}));
    layer.down = loader.matrix({{mlp + "down_proj.weight", hidden, ffn, all, inner}});
  }
  return weights;
}

}  // namespace lockstep::shard

#include "shard/weights.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <string>

#include "base/error.h"
#include "kernels/byte_layout.h"
#include "shard/weight_cache.h"
#include "shard/weight_check.h"

namespace lockstep::shard {
namespace {

using model::Tensor;

// Whether matrices get their values from the model, or from elsewhere later.
enum class Fill { pack, later };

class Loader {
 public:
  Loader(const model::Model& model, kernels::ThreadPool& pool, const Packing& packing,
         kernels::Arena& arena, Fill fill)
      : model_(model), pool_(pool), packing_(packing), arena_(arena), fill_(fill) {}

  // The values of a one-dimensional tensor.
  std::vector<float> vector(const std::string& name, std::int64_t size) {
    std::vector<float> values;
    append(name, size, {0, static_cast<std::int32_t>(size)}, values);
    return values;
  }
  // Those in `range`, behind what `values` has.
  void append(const std::string& name, std::int64_t size, Range range, std::vector<float>& values) {
    const std::array shape{size};
    const Tensor& tensor = model_.tensors->require(name, shape);
    if (!kernels::is_plain(tensor.dtype)) {
      throw Error(model_.path + ": tensor '" + tensor.name + "' is " +
                  std::string(kernels::name(tensor.dtype)) +
                  ": a norm or a bias must be f32, f16 or bf16");
    }
    for (std::int32_t i = range.begin; i < range.end; ++i) {
      values.push_back(kernels::plain_value(tensor.dtype, tensor.data.data(), i));
    }
  }

  // Rows [rows) and columns [columns) of a matrix of out_features x in_features.
  kernels::PackedMatrix matrix(const std::string& name, std::int64_t out_features,
                               std::int64_t in_features, Range rows, Range columns) {
    const kernels::PackedFormat format =
        kernels::packed_format(require(name, out_features, in_features).dtype);
    return matrix(name, out_features, in_features, rows, columns, packing_.layout(format));
  }
  kernels::PackedMatrix matrix(const std::string& name, std::int64_t out_features,
                               std::int64_t in_features, Range rows, Range columns,
                               kernels::PackedLayout layout) {
    const Tensor& tensor = require(name, out_features, in_features);
    kernels::PackedMatrix packed(kernels::packed_format(tensor.dtype), rows.size(), columns.size(),
                                 arena_, layout);
    pack(tensor, rows, columns, packed, [](std::int64_t row) { return row; });
    return packed;
  }

  // Some rows of a matrix.
  struct Rows {
    std::string name;
    std::int64_t out_features;
    Range rows;
  };

  // Rows of several matrices below one another, those of one format in one.
  std::vector<kernels::PackedMatrix> stacked(std::initializer_list<Rows> parts,
                                             std::int64_t in_features) {
    const Range all{0, static_cast<std::int32_t>(in_features)};
    const auto tensor = [&](const Rows& part) -> const Tensor& {
      return require(part.name, part.out_features, in_features);
    };
    std::vector<kernels::PackedMatrix> matrices;
    for (const auto* first = parts.begin(); first != parts.end();) {
      const auto format = kernels::packed_format(tensor(*first).dtype);
      const auto* last = std::find_if(first, parts.end(), [&](const Rows& part) {
        return kernels::packed_format(tensor(part).dtype) != format;
      });
      std::int64_t rows = 0;
      for (const auto* part = first; part != last; ++part) rows += part->rows.size();
      auto& matrix =
          matrices.emplace_back(format, rows, in_features, arena_, packing_.layout(format));
      for (std::int64_t above = 0; first != last; above += first++->rows.size()) {
        pack(tensor(*first), first->rows, all, matrix,
             [above](std::int64_t row) { return above + row; });
      }
    }
    return matrices;
  }

  // The projections into the MLP, [ffn, hidden] each, into `layer`: interleaved unless they are
  // packed in different formats. Both are multiplied at once, hence in one layout.
  void mlp_projections(const std::string& mlp, std::int64_t ffn, std::int64_t hidden, Range rows,
                       LayerWeights& layer) {
    const Range all{0, static_cast<std::int32_t>(hidden)};
    const Tensor& gate = require(mlp + "gate_proj.weight", ffn, hidden);
    const Tensor& up = require(mlp + "up_proj.weight", ffn, hidden);
    const auto gate_format = kernels::packed_format(gate.dtype);
    const auto up_format = kernels::packed_format(up.dtype);
    const auto layout = packing_.layout(gate_format);
    if (gate_format != up_format) {
      const auto both =
          packing_.layout(up_format) == layout ? layout : kernels::PackedLayout::interleaved;
      layer.gate_up = matrix(mlp + "gate_proj.weight", ffn, hidden, rows, all, both);
      layer.up = matrix(mlp + "up_proj.weight", ffn, hidden, rows, all, both);
      return;
    }
    constexpr std::int64_t kRows = kernels::kGroup;
    layer.gate_up = kernels::PackedMatrix(gate_format, 2 * rows.size(), hidden, arena_, layout);
    pack(gate, rows, all, layer.gate_up,
         [](std::int64_t row) { return row / kRows * 2 * kRows + row % kRows; });
    pack(up, rows, all, layer.gate_up,
         [](std::int64_t row) { return (row / kRows * 2 + 1) * kRows + row % kRows; });
  }

 private:
  const Tensor& require(const std::string& name, std::int64_t out_features,
                        std::int64_t in_features) const {
    const std::array shape{out_features, in_features};
    return model_.tensors->require(name, shape);
  }

  // Packs rows [rows) and columns [columns) of `tensor`: the first goes to place(0), and so on.
  template <class Place>
  void pack(const Tensor& tensor, Range rows, Range columns, kernels::PackedMatrix& packed,
            const Place& place) {
    if (fill_ == Fill::later) return;
    refuse_nan(model_.path, tensor, rows, columns, pool_);
    const kernels::StoredMatrix stored = tensor.matrix();
    pool_.for_ranges(rows.size(), [&](std::ptrdiff_t begin, std::ptrdiff_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        packed.set_row(place(row), stored, stored_row(tensor, rows.begin + row), columns.begin);
      }
    });
    model_.tensors->release(tensor);
  }

  // Where row `row` of Hugging Face's order lies in the file.
  std::int64_t stored_row(const Tensor& tensor, std::int64_t row) const {
    if (!tensor.rope_interleaved) return row;
    const std::int64_t head_dim = model_.config.head_dim;
    const std::int64_t in_head = row % head_dim;
    const std::int64_t half = head_dim / 2;
    return row - in_head + (in_head < half ? 2 * in_head : 2 * (in_head - half) + 1);
  }

  const model::Model& model_;
  kernels::ThreadPool& pool_;
  const Packing& packing_;
  kernels::Arena& arena_;
  const Fill fill_;
};

Range scaled(Range range, std::int64_t by) {
  return {static_cast<std::int32_t>(range.begin * by), static_cast<std::int32_t>(range.end * by)};
}

LayerWeights load_layer(Loader& loader, const model::ModelConfig& config, const Partition& part,
                        const std::string& scope) {
  const std::int64_t hidden = config.hidden_size;
  const Range all{0, static_cast<std::int32_t>(hidden)};
  const std::int64_t q_rows = config.num_attention_heads * config.head_dim;
  const std::int64_t kv_rows = config.num_key_value_heads * config.head_dim;
  const Range q = scaled(part.query_heads, config.head_dim);
  const Range kv = scaled(part.key_value_heads, config.head_dim);
  const Range inner = scaled({mlp_lane_groups(config, part.mlp_lanes.begin).begin,
                              mlp_lane_groups(config, part.mlp_lanes.end - 1).end},
                             kernels::kGroup);
  const auto attention = scope + "self_attn.";
  const auto mlp = scope + "mlp.";
  const std::int64_t ffn = config.intermediate_size;
  LayerWeights layer{
      .input_norm = loader.vector(scope + "input_layernorm.weight", hidden),
      .post_attention_norm = loader.vector(scope + "post_attention_layernorm.weight", hidden),
      .qkv_bias = {},
      .query_norm = {},
      .key_norm = {},
      .qkv = loader.stacked({{attention + "q_proj.weight", q_rows, q},
                             {attention + "k_proj.weight", kv_rows, kv},
                             {attention + "v_proj.weight", kv_rows, kv}},
                            hidden),
      .o = loader.matrix(attention + "o_proj.weight", hidden, q_rows, all, q),
      .down = {},
      .gate_up = {},
      .up = {},
  };
  if (config.attention_bias) {
    loader.append(attention + "q_proj.bias", q_rows, q, layer.qkv_bias);
    loader.append(attention + "k_proj.bias", kv_rows, kv, layer.qkv_bias);
    loader.append(attention + "v_proj.bias", kv_rows, kv, layer.qkv_bias);
  }
  if (config.head_norms) {
    layer.query_norm = loader.vector(attention + "q_norm.weight", config.head_dim);
    layer.key_norm = loader.vector(attention + "k_norm.weight", config.head_dim);
  }
  loader.mlp_projections(mlp, ffn, hidden, inner, layer);
  layer.down = loader.matrix(mlp + "down_proj.weight", hidden, ffn, all, inner);
  return layer;
}

}  // namespace

std::size_t Weights::bytes() const {
  std::size_t total = embedding.bytes() + head.bytes() + final_norm.size() * sizeof(float);
  for (const LayerWeights& layer : layers) {
    for (const auto* vector : {&layer.input_norm, &layer.post_attention_norm, &layer.qkv_bias,
                               &layer.query_norm, &layer.key_norm}) {
      total += vector->size() * sizeof(float);
    }
    for (const auto& matrix : layer.qkv) total += matrix.bytes();
    for (const auto* matrix : {&layer.o, &layer.down, &layer.gate_up, &layer.up}) {
      total += matrix->bytes();
    }
  }
  return total;
}

namespace {

Weights build_weights(const model::Model& model, const Partition& part, kernels::ThreadPool& pool,
                      const Packing& packing, Fill fill) {
  const model::ModelConfig& config = model.config;
  Weights weights;
  weights.arena = std::make_unique<kernels::Arena>();
  Loader loader(model, pool, packing, *weights.arena, fill);
  const Range all{0, static_cast<std::int32_t>(config.hidden_size)};
  const bool has_head = part.has_head(config);
  if (part.embeds() || (has_head && config.tie_word_embeddings)) {
    weights.embedding = loader.matrix("model.embed_tokens.weight", config.vocab_size,
                                      config.hidden_size, part.vocabulary, all);
  }
  if (has_head && !config.tie_word_embeddings) {
    weights.head = loader.matrix("lm_head.weight", config.vocab_size, config.hidden_size,
                                 part.vocabulary, all);
  }
  if (has_head) weights.final_norm = loader.vector("model.norm.weight", config.hidden_size);
  for (std::int32_t i = part.layers.begin; i < part.layers.end; ++i) {
    weights.layers.push_back(
        load_layer(loader, config, part, "model.layers." + std::to_string(i) + "."));
  }
  return weights;
}

}  // namespace

Weights load_weights(const model::Model& model, const Partition& part, kernels::ThreadPool& pool,
                     const Packing& packing, const std::string& cache_directory) {
  if (cache_directory.empty()) return build_weights(model, part, pool, packing, Fill::pack);
  const WeightCache cache(cache_directory, weight_digest(model, part, packing), pool);
  Weights weights = build_weights(model, part, pool, packing, Fill::later);
  if (cache.restore(*weights.arena)) return weights;
  weights = build_weights(model, part, pool, packing, Fill::pack);
  cache.store(*weights.arena);
  return weights;
}

}  // namespace lockstep::shard

// A random model's weights on a GPU, and the GPU of tests as the only rank.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "comm/gpu_exchange.h"
#include "shard/gpu/weights.h"
#include "tests/shard/random_llama.h"

namespace lockstep::shard {

// Of a world of one rank, which exchanges nothing.
class NoExchange final : public comm::GpuExchange {
 public:
  explicit NoExchange(kernels::cuda::Gpu& gpu) : gpu_(gpu) {}
  int rank() const override { return 0; }
  int size() const override { return 1; }
  std::string_view name() const override { return "none"; }
  void all_gather(const void*, void*, std::span<const std::size_t>, std::string_view) override {
    throw Error("one rank gathers");
  }
  void all_to_all(const void*, std::span<const std::size_t>, void*, std::span<const std::size_t>,
                  std::string_view) override {
    throw Error("one rank exchanges");
  }
  kernels::device::Allocation gather_memory(const std::string& label, std::size_t bytes) override {
    return gpu_.memory().allocate(label, bytes);
  }
  comm::PeerMemory peer_memory(std::size_t) override { return {}; }
  void wait(std::string_view what, const std::function<bool()>& look) override {
    gpu_.synchronize(std::string(what).c_str());
    look();
  }
  void wait(kernels::cuda::Mark& mark, std::string_view what,
            const std::function<bool()>& look) override {
    mark.wait(std::string(what).c_str());
    look();
  }

 private:
  kernels::cuda::Gpu& gpu_;
};

// Rows [rows.begin, rows.end) by columns [columns.begin, columns.end) of some matrices, one below
// the other, packed as bf16.
struct Cut {
  std::string name;
  Range rows, columns;
};
inline GpuMatrix packed(const RandomTensors& tensors, const std::vector<Cut>& cuts,
                        kernels::cuda::Gpu& gpu) {
  std::vector<std::uint16_t> values;
  std::int32_t rows = 0;
  for (const Cut& cut : cuts) {
    const auto width = tensors.find(cut.name)->shape[1];
    const auto& bits = tensors.bits(cut.name);
    for (std::int64_t row = cut.rows.begin; row < cut.rows.end; ++row) {
      const auto first = bits.begin() + row * width;
      values.insert(values.end(), first + cut.columns.begin, first + cut.columns.end);
    }
    rows += cut.rows.size();
  }
  const auto host = kernels::cuda::pack_bf16(values, rows, cuts[0].columns.size());
  GpuMatrix matrix;
  matrix.tiles = gpu.memory().allocate("weights", host.tiles.size());
  const auto pinned = gpu.pinned_memory().allocate("weights", host.tiles.size());
  std::ranges::copy(host.tiles, static_cast<std::byte*>(pinned.data()));
  gpu.upload(matrix.tiles.data(), {static_cast<std::byte*>(pinned.data()), pinned.size()},
             "weights");
  gpu.synchronize("weights");
  matrix.view = {host.format, static_cast<std::byte*>(matrix.tiles.data()), nullptr, host.rows,
                 host.groups};
  return matrix;
}

// Elements of vectors, one behind the other.
inline kernels::device::Allocation vectors(const RandomTensors& tensors,
                                           const std::vector<std::pair<std::string, Range>>& parts,
                                           kernels::cuda::Gpu& gpu) {
  std::vector<float> values;
  for (const auto& [name, range] : parts) {
    for (std::int32_t i = range.begin; i < range.end; ++i) {
      values.push_back(kernels::bf16_to_float(tensors.bits(name)[static_cast<std::size_t>(i)]));
    }
  }
  auto memory = gpu.memory().allocate("weights", values.size() * sizeof(float));
  const auto pinned = gpu.pinned_memory().allocate("weights", memory.size());
  std::memcpy(pinned.data(), values.data(), pinned.size());
  gpu.upload(memory.data(), {static_cast<std::byte*>(pinned.data()), pinned.size()}, "weights");
  gpu.synchronize("weights");
  return memory;
}

// The weights of a rank in bf16, straight from the tensors.
inline GpuWeights random_weights(const model::Model& model, const Partition& part,
                                 kernels::cuda::Gpu& gpu) {
  const auto& tensors = dynamic_cast<const RandomTensors&>(*model.tensors);
  const model::ModelConfig& config = model.config;
  const Range hidden{0, static_cast<std::int32_t>(config.hidden_size)};
  const auto dim = static_cast<std::int32_t>(config.head_dim);
  const Range q{part.query_heads.begin * dim, part.query_heads.end * dim};
  const Range kv{part.key_value_heads.begin * dim, part.key_value_heads.end * dim};
  const Range inner{32 * mlp_lane_groups(config, part.mlp_lanes.begin).begin,
                    32 * mlp_lane_groups(config, part.mlp_lanes.end - 1).end};
  GpuWeights weights;
  weights.embedding =
      packed(tensors, {{"model.embed_tokens.weight", part.vocabulary, hidden}}, gpu);
  if (!config.tie_word_embeddings) {
    weights.head = packed(tensors, {{"lm_head.weight", part.vocabulary, hidden}}, gpu);
  }
  weights.final_norm = vectors(tensors, {{"model.norm.weight", hidden}}, gpu);
  for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
    const std::string scope = "model.layers." + std::to_string(i) + ".";
    const std::string attention = scope + "self_attn.", mlp = scope + "mlp.";
    GpuLayerWeights& layer = weights.layers.emplace_back();
    layer.input_norm = vectors(tensors, {{scope + "input_layernorm.weight", hidden}}, gpu);
    layer.post_attention_norm =
        vectors(tensors, {{scope + "post_attention_layernorm.weight", hidden}}, gpu);
    if (config.attention_bias) {
      layer.qkv_bias = vectors(tensors,
                               {{attention + "q_proj.bias", q},
                                {attention + "k_proj.bias", kv},
                                {attention + "v_proj.bias", kv}},
                               gpu);
    }
    if (config.head_norms) {
      layer.query_norm = vectors(tensors, {{attention + "q_norm.weight", {0, dim}}}, gpu);
      layer.key_norm = vectors(tensors, {{attention + "k_norm.weight", {0, dim}}}, gpu);
    }
    if (i % 2 == 0) {  // one matrix, or three and two
      layer.qkv.push_back(packed(tensors,
                                 {{attention + "q_proj.weight", q, hidden},
                                  {attention + "k_proj.weight", kv, hidden},
                                  {attention + "v_proj.weight", kv, hidden}},
                                 gpu));
      std::vector<Cut> turns;
      for (std::int32_t row = inner.begin; row < inner.end; row += kernels::cuda::kTurn) {
        const Range turn{row, row + kernels::cuda::kTurn};
        turns.push_back({mlp + "gate_proj.weight", turn, hidden});
        turns.push_back({mlp + "up_proj.weight", turn, hidden});
      }
      layer.gate_up.push_back(packed(tensors, turns, gpu));
    } else {
      layer.qkv.push_back(packed(tensors, {{attention + "q_proj.weight", q, hidden}}, gpu));
      layer.qkv.push_back(packed(tensors, {{attention + "k_proj.weight", kv, hidden}}, gpu));
      layer.qkv.push_back(packed(tensors, {{attention + "v_proj.weight", kv, hidden}}, gpu));
      layer.gate_up.push_back(packed(tensors, {{mlp + "gate_proj.weight", inner, hidden}}, gpu));
      layer.gate_up.push_back(packed(tensors, {{mlp + "up_proj.weight", inner, hidden}}, gpu));
    }
    layer.o = packed(tensors, {{attention + "o_proj.weight", hidden, q}}, gpu);
    layer.down = packed(tensors, {{mlp + "down_proj.weight", hidden, inner}}, gpu);
  }
  return weights;
}

}  // namespace lockstep::shard

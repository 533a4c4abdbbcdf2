#include "shard/gpu/load_plan.h"

#include "kernels/lanes.h"

namespace lockstep::shard {
namespace {

Range times(Range range, std::int64_t factor) {
  return {static_cast<std::int32_t>(range.begin * factor),
          static_cast<std::int32_t>(range.end * factor)};
}

VectorPart whole(const std::string& tensor, std::int64_t size) {
  return {tensor, size, times({0, 1}, size)};
}

}  // namespace

RankParts rank_parts(const model::ModelConfig& config, const Partition& part) {
  const std::int64_t hidden = config.hidden_size, ffn = config.intermediate_size;
  const std::int64_t all_q = config.num_attention_heads * config.head_dim;
  const std::int64_t all_kv = config.num_key_value_heads * config.head_dim;
  const Range all = times({0, 1}, hidden);
  const Range q = times(part.query_heads, config.head_dim);
  const Range kv = times(part.key_value_heads, config.head_dim);
  const Range inner = times({mlp_lane_groups(config, part.mlp_lanes.begin).begin,
                             mlp_lane_groups(config, part.mlp_lanes.end - 1).end},
                            kernels::kGroup);
  RankParts parts;
  if (part.embeds() || (part.has_head(config) && config.tie_word_embeddings)) {
    parts.embedding = {"model.embed_tokens.weight", config.vocab_size, hidden, part.vocabulary,
                       all};
  }
  if (part.has_head(config)) {
    parts.final_norm = whole("model.norm.weight", hidden);
    if (!config.tie_word_embeddings) {
      parts.head = {"lm_head.weight", config.vocab_size, hidden, part.vocabulary, all};
    }
  }
  for (std::int32_t i = part.layers.begin; i < part.layers.end; ++i) {
    const std::string scope = "model.layers." + std::to_string(i) + ".";
    const std::string attention = scope + "self_attn.", mlp = scope + "mlp.";
    parts.layers.push_back(
        {.input_norm = whole(scope + "input_layernorm.weight", hidden),
         .post_attention_norm = whole(scope + "post_attention_layernorm.weight", hidden),
         .qkv_bias = {},
         .query_norm = {},
         .key_norm = {},
         .qkv = {{attention + "q_proj.weight", all_q, hidden, q, all},
                 {attention + "k_proj.weight", all_kv, hidden, kv, all},
                 {attention + "v_proj.weight", all_kv, hidden, kv, all}},
         .gate_up = {{mlp + "gate_proj.weight", ffn, hidden, inner, all},
                     {mlp + "up_proj.weight", ffn, hidden, inner, all}},
         .o = {attention + "o_proj.weight", hidden, all_q, all, q},
         .down = {mlp + "down_proj.weight", hidden, ffn, all, inner}});
    LayerParts& layer = parts.layers.back();
    if (config.attention_bias) {
      layer.qkv_bias = {{attention + "q_proj.bias", all_q, q},
                        {attention + "k_proj.bias", all_kv, kv},
                        {attention + "v_proj.bias", all_kv, kv}};
    }
    if (config.head_norms) {
      layer.query_norm = whole(attention + "q_norm.weight", config.head_dim);
      layer.key_norm = whole(attention + "k_norm.weight", config.head_dim);
    }
  }
  return parts;
}

std::vector<MatrixPart> RankParts::matrices() const {
  std::vector<MatrixPart> result;
  if (embedding) result.push_back(*embedding);
  if (head) result.push_back(*head);
  for (const LayerParts& layer : layers) {
    result.insert(result.end(), layer.qkv.begin(), layer.qkv.end());
    result.insert(result.end(), layer.gate_up.begin(), layer.gate_up.end());
    result.push_back(layer.o);
    result.push_back(layer.down);
  }
  return result;
}

}  // namespace lockstep::shard

#include "tests/model/tiny_llama.h"

#include <functional>
#include <numeric>

namespace lockstep::model {
namespace {

constexpr std::int64_t kHidden = 32;
constexpr std::int64_t kInner = 64;
constexpr std::int64_t kHeadDim = 8;
constexpr std::int64_t kKeyRows = 2 * kHeadDim;
constexpr int kLayers = 2;

const std::vector<std::string> kTokens{
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "a", "b", "c", "d", "ab", "cd",
    "abcd",          "\xc4\xa0",     "<tool>"};
const std::vector<std::string> kMerges{"a b", "c d", "ab cd"};
const char kTemplate[] = "{{ messages }}";

template <class T>
std::string raw(const std::vector<T>& values) {
  return {reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)};
}

}  // namespace

std::vector<TinyTensor> tiny_tensors() {
  const auto vocabulary = static_cast<std::int64_t>(kTokens.size());
  std::vector<TinyTensor> all{
      {"token_embd.weight", "model.embed_tokens.weight", {vocabulary, kHidden}}};
  for (int i = 0; i < kLayers; ++i) {
    const std::string gguf = "blk." + std::to_string(i) + ".";
    const std::string hf = "model.layers." + std::to_string(i) + ".";
    const auto add = [&](const char* theirs, const char* ours, std::vector<std::int64_t> shape) {
      all.push_back({gguf + theirs, hf + ours, std::move(shape)});
    };
    add("attn_norm.weight", "input_layernorm.weight", {kHidden});
    add("attn_q.weight", "self_attn.q_proj.weight", {kHidden, kHidden});
    add("attn_k.weight", "self_attn.k_proj.weight", {kKeyRows, kHidden});
    add("attn_v.weight", "self_attn.v_proj.weight", {kKeyRows, kHidden});
    add("attn_output.weight", "self_attn.o_proj.weight", {kHidden, kHidden});
    add("ffn_norm.weight", "post_attention_layernorm.weight", {kHidden});
    add("ffn_gate.weight", "mlp.gate_proj.weight", {kInner, kHidden});
    add("ffn_up.weight", "mlp.up_proj.weight", {kInner, kHidden});
    add("ffn_down.weight", "mlp.down_proj.weight", {kHidden, kInner});
  }
  all.push_back({"output_norm.weight", "model.norm.weight", {kHidden}});
  all.push_back({"output.weight", "lm_head.weight", {vocabulary, kHidden}});
  return all;
}

std::vector<float> tiny_values(const TinyTensor& tensor) {
  const auto tensors = tiny_tensors();
  std::size_t index = 0;
  while (tensors[index].hf_name != tensor.hf_name) ++index;
  std::vector<float> values(std::accumulate(tensor.shape.begin(), tensor.shape.end(),
                                            std::size_t{1}, std::multiplies<>()));
  std::iota(values.begin(), values.end(), static_cast<float>(index * 10000));
  return values;
}

std::string tiny_hf_bytes(const TinyTensor& tensor) { return raw(tiny_values(tensor)); }

std::string tiny_gguf_bytes(const TinyTensor& tensor) {
  const std::vector<float> values = tiny_values(tensor);
  if (!tensor.gguf_name.ends_with("attn_q.weight") &&
      !tensor.gguf_name.ends_with("attn_k.weight")) {
    return raw(values);
  }
  // convert_hf_to_gguf.py: reshape(heads, 2, head_dim / 2, columns).swapaxes(1, 2)
  std::vector<float> permuted;
  for (std::int64_t head = 0; head < tensor.shape[0] / kHeadDim; ++head) {
    for (std::int64_t i = 0; i < kHeadDim / 2; ++i) {
      for (std::int64_t half = 0; half < 2; ++half) {
        const auto row = values.begin() + (head * kHeadDim + half * kHeadDim / 2 + i) * kHidden;
        permuted.insert(permuted.end(), row, row + kHidden);
      }
    }
  }
  return raw(permuted);
}

GgufWriter tiny_gguf() {
  GgufWriter writer;
  writer.set("general.architecture", gguf_text("llama"));
  writer.set("llama.block_count", gguf_u32(kLayers));
  writer.set("llama.context_length", gguf_u32(128));
  writer.set("llama.embedding_length", gguf_u32(kHidden));
  writer.set("llama.feed_forward_length", gguf_u32(kInner));
  writer.set("llama.attention.head_count", gguf_u32(4));
  writer.set("llama.attention.head_count_kv", gguf_u32(2));
  writer.set("llama.attention.layer_norm_rms_epsilon", gguf_f32(1e-5f));
  writer.set("llama.rope.freq_base", gguf_f32(100000.0f));
  writer.set("llama.rope.dimension_count", gguf_u32(kHeadDim));
  writer.set("tokenizer.ggml.model", gguf_text("gpt2"));
  writer.set("tokenizer.ggml.pre", gguf_text("smollm"));
  writer.set("tokenizer.ggml.tokens", gguf_texts(kTokens));
  writer.set("tokenizer.ggml.token_type", gguf_i32s({3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 4}));
  writer.set("tokenizer.ggml.merges", gguf_texts(kMerges));
  writer.set("tokenizer.ggml.bos_token_id", gguf_u32(1));
  writer.set("tokenizer.ggml.eos_token_id", gguf_u32(2));
  writer.set("tokenizer.ggml.unknown_token_id", gguf_u32(0));
  writer.set("tokenizer.ggml.add_bos_token", gguf_bool(0));
  writer.set("tokenizer.chat_template", gguf_text(kTemplate));
  for (const TinyTensor& tensor : tiny_tensors()) {
    writer.add(tensor.gguf_name, {tensor.shape.rbegin(), tensor.shape.rend()}, 0,
               tiny_gguf_bytes(tensor));
  }
  return writer;
}

void TinyFolder::write(const TempFolder& folder) const {
  folder.write("config.json", config.dump());
  folder.write("generation_config.json", generation_config.dump());
  folder.write("tokenizer.json", tokenizer.dump());
  folder.write("tokenizer_config.json", tokenizer_config.dump());
}

TinyFolder tiny_folder() {
  TinyFolder folder;
  folder.config = {{"architectures", {"LlamaForCausalLM"}},
                   {"hidden_size", kHidden},
                   {"intermediate_size", kInner},
                   {"num_hidden_layers", kLayers},
                   {"num_attention_heads", 4},
                   {"num_key_value_heads", 2},
                   {"vocab_size", kTokens.size()},
                   {"max_position_embeddings", 128},
                   {"rms_norm_eps", 1e-5},
                   {"rope_theta", 100000},
                   {"rope_scaling", nullptr},
                   {"hidden_act", "silu"},
                   {"attention_bias", false},
                   {"tie_word_embeddings", false},
                   {"bos_token_id", 1},
                   {"eos_token_id", 2}};
  folder.generation_config = {{"bos_token_id", 1}, {"eos_token_id", 2}};
  nlohmann::json vocabulary;
  for (std::size_t id = 0; id < kTokens.size(); ++id) vocabulary[kTokens[id]] = id;
  nlohmann::json added = nlohmann::json::array();
  for (const std::size_t id : {0, 1, 2, 11}) {
    added.push_back({{"id", id}, {"content", kTokens[id]}, {"special", id < 3}});
  }
  folder.tokenizer = {
      {"version", "1.0"},
      {"added_tokens", added},
      {"normalizer", nullptr},
      {"pre_tokenizer",
       {{"type", "Sequence"},
        {"pretokenizers",
         {{{"type", "Digits"}, {"individual_digits", true}},
          {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"use_regex", true}}}}}},
      {"post_processor", nullptr},
      {"model",
       {{"type", "BPE"},
        {"unk_token", "<|endoftext|>"},
        {"vocab", vocabulary},
        {"merges", kMerges}}}};
  folder.tokenizer_config = {{"bos_token", "<|im_start|>"},
                             {"eos_token", {{"content", "<|im_end|>"}}},
                             {"unk_token", "<|endoftext|>"},
                             {"chat_template", kTemplate}};
  return folder;
}

SafetensorsWriter tiny_safetensors() {
  SafetensorsWriter writer;
  for (const TinyTensor& tensor : tiny_tensors()) {
    writer.add(tensor.hf_name, "F32", tensor.shape, tiny_hf_bytes(tensor));
  }
  return writer;
}

void write_tiny_shards(const TempFolder& folder) {
  SafetensorsWriter shards[2];
  const std::string names[2]{"model-00001-of-00002.safetensors",
                             "model-00002-of-00002.safetensors"};
  nlohmann::json index{{"metadata", {{"total_size", 0}}}};
  int next = 0;
  for (const TinyTensor& tensor : tiny_tensors()) {
    shards[next].add(tensor.hf_name, "F32", tensor.shape, tiny_hf_bytes(tensor));
    index["weight_map"][tensor.hf_name] = names[next];
    next = 1 - next;
  }
  for (int i = 0; i < 2; ++i) folder.write(names[i], shards[i].build());
  folder.write("model.safetensors.index.json", index.dump());
}

}  // namespace lockstep::model

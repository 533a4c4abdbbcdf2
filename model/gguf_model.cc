#include "model/gguf_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <memory>
#include <utility>
#include <vector>

#include "model/fail.h"
#include "model/family.h"
#include "model/family_tensors.h"
#include "model/gguf.h"
#include "model/gguf_tokenizer.h"
#include "model/limits.h"
#include "model/tensor_layout.h"
#include "model/tensor_table.h"

namespace lockstep::model {
namespace {

constexpr std::string_view kRopeDivisors = "rope_freqs.weight";
constexpr double kMaxNumber = std::numeric_limits<float>::max();

// The metadata below "<architecture>.".
class Section {
 public:
  Section(const GgufMetadata& metadata, std::string_view architecture)
      : metadata_(metadata), prefix_(std::string(architecture) + ".") {}

  std::string key(std::string_view name) const { return prefix_ + std::string(name); }

  std::optional<std::int64_t> size(std::string_view name, std::int64_t limit) const {
    return metadata_.integer(key(name), 1, limit);
  }
  std::int64_t require_size(std::string_view name, std::int64_t limit) const {
    return metadata_.require(key(name), size(name, limit));
  }
  std::optional<double> number(std::string_view name) const {
    return metadata_.number(key(name), 0, kMaxNumber);
  }
  // Throws when the key is there with another value.
  void expect_integer(std::string_view name, std::int64_t value) const {
    metadata_.integer(key(name), value, value);
  }
  [[noreturn]] void fail_at(std::string_view name, const std::string& message) const {
    metadata_.fail_at(key(name), message);
  }
  const GgufMetadata& metadata() const { return metadata_; }

 private:
  const GgufMetadata& metadata_;
  std::string prefix_;
};

// Variants of the architecture that this project does not compute.
void refuse_variants(const Section& section, std::int64_t head_dim) {
  section.expect_integer("expert_count", 0);
  section.expect_integer("attention.value_length", head_dim);
  section.expect_integer("rope.dimension_count", head_dim);
  const auto scaling = section.metadata().string(section.key("rope.scaling.type"));
  if (scaling && *scaling != "none") {
    section.fail_at("rope.scaling.type",
                    in_quotes(*scaling) + " is not supported; supported is none");
  }
  // Without a type, llama.cpp takes a factor for linear scaling.
  for (const std::string_view name : {"rope.scaling.factor", "rope.scale_linear"}) {
    const double factor = section.number(name).value_or(1);
    if (!scaling && factor != 1 && factor != 0) {
      section.fail_at(name, "linear scaling is not supported");
    }
  }
}

std::int64_t head_dim(const Section& section, const ModelConfig& config) {
  if (const auto size = section.size("attention.key_length", kMaxHeadDim)) return *size;
  if (config.hidden_size % config.num_attention_heads != 0) {
    section.fail_at("attention.head_count", std::to_string(config.num_attention_heads) +
                                                " does not divide embedding_length, " +
                                                std::to_string(config.hidden_size));
  }
  return config.hidden_size / config.num_attention_heads;
}

const Tensor* find_tensor(const std::vector<Tensor>& tensors, std::string_view name) {
  const auto found = std::ranges::find(tensors, name, &Tensor::name);
  return found == tensors.end() ? nullptr : &*found;
}

std::int64_t vocab_size(const Section& section, const std::vector<Tensor>& tensors) {
  if (const auto size = section.size("vocab_size", kMaxVocabSize)) return *size;
  const Tensor* embedding = find_tensor(tensors, "token_embd.weight");
  if (embedding == nullptr) {
    fail(section.metadata().file(), "tensor 'token_embd.weight' is missing");
  }
  return embedding->shape.front();
}

std::vector<float> rope_divisors(const std::vector<Tensor>& tensors, std::int64_t head_dim,
                                 const std::string& file) {
  const Tensor* tensor = find_tensor(tensors, kRopeDivisors);
  if (tensor == nullptr) return {};
  const std::string field = "tensor " + in_quotes(kRopeDivisors);
  if (tensor->dtype != kernels::DType::f32) fail(file, field + ": type is not f32");
  if (tensor->shape != std::vector<std::int64_t>{head_dim / 2}) {
    fail(file, field + ": shape " + shape_text(tensor->shape) + " is not [" +
                   std::to_string(head_dim / 2) + "], half of head_dim");
  }
  std::vector<float> divisors(static_cast<std::size_t>(head_dim / 2));
  std::memcpy(divisors.data(), tensor->data.data(), tensor->data.size());
  for (const float divisor : divisors) {
    if (!std::isfinite(divisor) || divisor <= 0)
      fail(file, field + ": has a value that is not positive");
  }
  return divisors;
}

ModelConfig read_config(const GgufFile& gguf, const Family& family, const TokenizerSpec& spec) {
  const Section section(gguf.metadata, family.gguf_architecture);
  ModelConfig config;
  config.family = family.name;
  config.attention_bias = family.attention_bias;
  config.head_norms = family.head_norms;
  config.hidden_size = section.require_size("embedding_length", kMaxHiddenSize);
  config.intermediate_size = section.require_size("feed_forward_length", kMaxIntermediateSize);
  config.num_hidden_layers = section.require_size("block_count", kMaxLayers);
  config.num_attention_heads = section.require_size("attention.head_count", kMaxHeads);
  config.num_key_value_heads =
      section.size("attention.head_count_kv", kMaxHeads).value_or(config.num_attention_heads);
  config.head_dim = head_dim(section, config);
  config.vocab_size = vocab_size(section, gguf.tensors);
  config.max_position_embeddings = section.require_size("context_length", kMaxPositions);
  // Up to a window's length all positions see all before them.
  if (const auto window =
          section.metadata().integer(section.key("attention.sliding_window"), 0, kMaxPositions);
      window.value_or(0) > 0) {
    config.max_position_embeddings = std::min(config.max_position_embeddings, *window);
  }
  const std::string epsilon = section.key("attention.layer_norm_rms_epsilon");
  config.rms_norm_eps = static_cast<float>(
      gguf.metadata.require(epsilon, section.number("attention.layer_norm_rms_epsilon")));
  config.rope_theta = section.number("rope.freq_base").value_or(config.rope_theta);
  refuse_variants(section, config.head_dim);
  config.rope_frequency_divisors =
      rope_divisors(gguf.tensors, config.head_dim, gguf.metadata.file());
  config.tie_word_embeddings = find_tensor(gguf.tensors, "output.weight") == nullptr;
  config.bos_token_id = spec.bos_token_id;
  config.eos_token_ids = gguf_eos_token_ids(gguf.metadata, spec);
  check_config(config, gguf.metadata.file());
  return config;
}

// The tensors under their Hugging Face names.
std::vector<Tensor> rename_tensors(std::vector<Tensor> tensors, const Family& family,
                                   const std::string& file) {
  std::erase_if(tensors, [](const Tensor& tensor) { return tensor.name == kRopeDivisors; });
  for (Tensor& tensor : tensors) {
    auto name = hf_tensor_name(tensor.name);
    if (!name) {
      fail(file, "tensor " + in_quotes(tensor.name) + " is not one of a " +
                     std::string(family.name) + " model");
    }
    tensor.name = *std::move(name);
    tensor.rope_interleaved = family.interleaved_in_gguf && is_rotated(tensor.name);
  }
  return tensors;
}

void refuse_split(const GgufMetadata& metadata) {
  if (metadata.integer("split.count", 0, UINT16_MAX).value_or(1) > 1) {
    metadata.fail_at("split.count",
                     "a model split over files is not supported; merge it with llama-gguf-split");
  }
}

}  // namespace

Model open_gguf_model(const std::string& path) {
  GgufFile gguf = read_gguf(path);
  refuse_split(gguf.metadata);
  constexpr std::string_view kArchitecture = "general.architecture";
  const auto architecture =
      gguf.metadata.require(kArchitecture, gguf.metadata.string(kArchitecture));
  const Family& family = family_of_gguf(architecture, path);

  Model model;
  model.path = path;
  model.tokenizer = gguf_tokenizer(gguf.metadata);
  model.config = read_config(gguf, family, model.tokenizer);
  std::vector<MappedFile> files;
  files.push_back(std::move(gguf.file));
  auto tensors = std::make_unique<TensorTable>(
      path, std::move(files), rename_tensors(std::move(gguf.tensors), family, path));
  check_tensors(model.config, *tensors);
  model.tensors = std::move(tensors);
  return model;
}

}  // namespace lockstep::model

// The table of model families: what each is called in files, and which tensors it has.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "model/config.h"
#include "model/tensor_table.h"

namespace lockstep::model {

// One tensor that a model must have.
struct TensorNeed {
  std::string name;  // Hugging Face name
  std::vector<std::int64_t> shape;
  bool may_be_quantized;
};

// What sets one family's files apart. A new family is one file that defines such a value and one
// line in families().
struct Family {
  std::string_view name;                               // ModelConfig::family
  std::string_view gguf_architecture;                  // general.architecture
  std::span<const std::string_view> hf_architectures;  // config.json's "architectures"
  // The Hugging Face name of a GGUF tensor; nothing when the family has no such tensor.
  std::optional<std::string> (*hf_tensor_name)(std::string_view gguf_name);
  // Whether GGUF files hold this tensor (by its Hugging Face name) in interleaved-RoPE row order.
  bool (*rope_interleaved_in_gguf)(std::string_view hf_name);
  // Every tensor that a model of this configuration has.
  std::vector<TensorNeed> (*tensors)(const ModelConfig& config);
  // Whether a tensor that tensors() does not list may be ignored, because its content follows from
  // the configuration. Any other stray tensor means a variant that this family does not compute.
  bool (*redundant)(std::string_view hf_name, const ModelConfig& config);
};

std::span<const Family> families();

// The family of a GGUF file or of a Hugging Face folder. Throws Error "<file>: ..." that lists the
// known ones.
const Family& family_of_gguf(std::string_view architecture, const std::string& file);
const Family& family_of_hf(std::string_view architecture, const std::string& file);

// Throws Error naming the file and the field when the hyper-parameters are out of bounds or do not
// fit together.
void check_config(const ModelConfig& config, const std::string& file);

// Throws Error naming the tensor when one of the family's is missing, has the wrong shape or a type
// that its use does not support, or when the model has one that the family does not know.
// REQUIRES: check_config passed.
void check_tensors(const Family& family, const ModelConfig& config, const TensorTable& tensors);

}  // namespace lockstep::model

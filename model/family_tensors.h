// The tensors of a decoder as Llama has it: what they are called in files, and which a model needs.
#pragma once

#include <cstdint>
#include <optional>
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

// Every tensor that a model of this configuration has.
std::vector<TensorNeed> needed_tensors(const ModelConfig& config);

// The Hugging Face name of a GGUF tensor; nothing when such a decoder has no such tensor.
std::optional<std::string> hf_tensor_name(std::string_view gguf_name);

// Whether it is the weight of q_proj or k_proj, whose rows are turned by RoPE.
bool is_rotated(std::string_view hf_name);

// Throws Error naming the tensor when one that is needed is missing, has the wrong shape or a type
// that its use does not support, when a norm or a bias is not finite, or when the model has a
// tensor that would go into its answers and is not known. REQUIRES: check_config passed.
void check_tensors(const ModelConfig& config, const TensorTable& tensors);

}  // namespace lockstep::model

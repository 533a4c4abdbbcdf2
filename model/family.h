// The table of model families: decoders that differ from Llama's in little more than their names.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "model/config.h"

namespace lockstep::model {

// What sets one family apart. Another one is a line in families().
struct Family {
  std::string_view name;                               // ModelConfig::family
  std::string_view gguf_architecture;                  // general.architecture
  std::span<const std::string_view> hf_architectures;  // config.json's "architectures"
  // ModelConfig's.
  bool attention_bias;
  bool head_norms;
  // Whether config.json's sliding_window counts where use_sliding_window does not say.
  bool windowed;
  // Whether GGUF files hold the rows of q_proj and k_proj in interleaved-RoPE order.
  bool interleaved_in_gguf;
};

std::span<const Family> families();

// The family of a GGUF file or of a Hugging Face folder. Throws Error "<file>: ..." that lists the
// known ones.
const Family& family_of_gguf(std::string_view architecture, const std::string& file);
const Family& family_of_hf(std::string_view architecture, const std::string& file);

// Throws Error naming the file and the field when the hyper-parameters are out of bounds or do not
// fit together.
void check_config(const ModelConfig& config, const std::string& file);

}  // namespace lockstep::model

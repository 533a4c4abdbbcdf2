// ModelConfig from a Hugging Face folder's config.json and generation_config.json.
#pragma once

#include <optional>
#include <string>

#include "model/config.h"
#include "model/hf_quantization.h"

namespace lockstep::model {

struct HfConfig {
  ModelConfig config;
  std::optional<HfQuantization> quantization;
};

// Throws Error naming the file and the field. `generation_config.json` may be missing; what it
// calls end-of-sequence joins what config.json does.
HfConfig read_hf_config(const std::string& folder);

// The one name in a config.json's "architectures". Throws Error naming the file and the field.
std::string hf_architecture(const JsonFields& fields);

// The hyper-parameters alone, of a config.json. Throws as above.
ModelConfig read_hf_hyper_parameters(const JsonFields& fields);

}  // namespace lockstep::model

// ModelConfig from a Hugging Face folder's config.json and generation_config.json.
#pragma once

#include <optional>
#include <string>

#include "model/config.h"
#include "model/family.h"
#include "model/hf_quantization.h"

namespace lockstep::model {

struct HfConfig {
  ModelConfig config;
  const Family* family;
  std::optional<HfQuantization> quantization;
};

// Throws Error naming the file and the field. `generation_config.json` may be missing; what it
// calls end-of-sequence joins what config.json does.
HfConfig read_hf_config(const std::string& folder);

// The one name in "architectures", and the hyper-parameters of a config.json, for whatever family:
// `family` is empty, and neither bounds between fields nor unsupported variants are checked. Throw
// Error naming the file and the field.
std::string hf_architecture(const JsonFields& fields);
ModelConfig read_hf_sizes(const JsonFields& fields);

}  // namespace lockstep::model

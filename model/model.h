// One opened model: what its files say, checked.
#pragma once

#include <memory>
#include <string>

#include "model/config.h"
#include "model/tensor_source.h"
#include "model/tokenizer.h"

namespace lockstep::model {

struct Model {
  std::string path;
  ModelConfig config;
  TokenizerSpec tokenizer;
  std::unique_ptr<TensorSource> tensors;
};

// Opens a GGUF file or a Hugging Face folder (config.json, *.safetensors, tokenizer.json). Maps
// the weights, reads none of them. Throws Error naming the file, the field and the limit.
Model open_model(const std::string& path);

}  // namespace lockstep::model

// What a model's headers say of its size: enough to plan memory, without its tokenizer.
#pragma once

#include <memory>
#include <string>

#include "model/config.h"
#include "model/tensor_source.h"

namespace lockstep::model {

struct Outline {
  std::string architecture;  // as the file calls it: "Qwen2ForCausalLM", "llama"
  ModelConfig config;
  // The tensors, of which only types and shapes are to be looked at; nullptr where there is no more
  // than a config.json.
  std::unique_ptr<TensorSource> tensors;
  // How a config.json says that matrices are kept: "bfloat16", "float16", "float32", "fp8",
  // "fp8_block", "int8", "packed_int4", "packed_int4_zeros", "packed_int8", "gptq", "gptq_8",
  // "awq", or what else stands in torch_dtype or quant_method; "" where it says nothing.
  std::string stored_as;
};

// `path`: a GGUF file, a Hugging Face folder with or without its weights, or a config.json. Throws
// Error naming the file and the field, as for a model that is to be served.
Outline read_outline(const std::string& path);

}  // namespace lockstep::model

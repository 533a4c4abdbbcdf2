// A Llama of a few kilobytes, as a GGUF file and as a Hugging Face folder with the same content.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "tests/model/gguf_writer.h"
#include "tests/model/safetensors_writer.h"
#include "tests/model/temp_folder.h"

namespace lockstep::model {

// 2 layers, hidden 32, 4 heads of 8, 2 key-value heads, MLP 64, 12 tokens, untied.
struct TinyTensor {
  std::string gguf_name;
  std::string hf_name;
  std::vector<std::int64_t> shape;  // outermost first
};
std::vector<TinyTensor> tiny_tensors();

// The f32 content of a tensor in Hugging Face's row order; no two tensors share a value.
std::vector<float> tiny_values(const TinyTensor& tensor);

// Those bytes in GGUF's row order.
std::string tiny_gguf_bytes(const TinyTensor& tensor);
std::string tiny_hf_bytes(const TinyTensor& tensor);

GgufWriter tiny_gguf();

// The files of the folder but for its weights, for a test to bend.
struct TinyFolder {
  nlohmann::json config;
  nlohmann::json generation_config;
  nlohmann::json tokenizer;
  nlohmann::json tokenizer_config;

  void write(const TempFolder& folder) const;
};
TinyFolder tiny_folder();

// The weights as one file, or as two shards and their index.
SafetensorsWriter tiny_safetensors();
void write_tiny_shards(const TempFolder& folder);

}  // namespace lockstep::model

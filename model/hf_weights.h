// The weights of a Hugging Face folder: model.safetensors, or shards listed in an index.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "model/hf_quantization.h"
#include "model/tensor_table.h"

namespace lockstep::model {

// Throws Error naming the file, and the tensor or field. The index names files of the folder itself
// only, and says exactly what the shards hold. A quantized matrix is one tensor
// (hf_quantized_tensors.h).
std::unique_ptr<TensorTable> read_hf_weights(const std::string& folder,
                                             const std::optional<HfQuantization>& quantization);

}  // namespace lockstep::model

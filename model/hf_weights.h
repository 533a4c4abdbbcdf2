// The weights of a Hugging Face folder: model.safetensors, or shards listed in an index.
#pragma once

#include <memory>
#include <string>

#include "model/tensor_table.h"

namespace lockstep::model {

// Throws Error naming the file, and the tensor or field. The index names files of the folder itself
// only, and says exactly what the shards hold.
std::unique_ptr<TensorTable> read_hf_weights(const std::string& folder);

}  // namespace lockstep::model

// Reader of safetensors files.
// Format: https://github.com/huggingface/safetensors#format
#pragma once

#include <vector>

#include "model/mapped_file.h"
#include "model/tensor_source.h"

namespace lockstep::model {

// The tensors of one file, their data in `file`. Throws Error naming the file, the tensor and the
// field when the header is damaged, a tensor's bytes are not exactly what its type and shape take,
// tensors overlap or leave holes, or a type is not one of F32, F16, BF16, F8_E4M3, I64, I32 and I8.
// A tensor without dimensions, a single number, gets one: [1].
std::vector<Tensor> read_safetensors(const MappedFile& file);

}  // namespace lockstep::model

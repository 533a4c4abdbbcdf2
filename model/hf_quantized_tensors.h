// The quantized matrices of a Hugging Face folder, put together from their parts.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/hf_quantization.h"
#include "model/tensor_source.h"

namespace lockstep::model {

// Replaces the parts of a quantized matrix by one tensor "<module>.weight" a module: "<module>
// .qweight", ".qzeros", ".scales" and GPTQ's ".g_idx" (of type gptq_8 or awq_8 where every zero
// point is 8), or those of hf_byte_tensors.h; tensors that are not quantized stay as they are.
// Throws Error naming `file` and the part that is missing or has another type or shape than the
// matrix asks for, a g_idx that reorders columns, and a bias that is not zero; without
// `quantization`, any quantized matrix.
std::vector<Tensor> join_quantized(std::vector<Tensor> tensors,
                                   const std::optional<HfQuantization>& quantization,
                                   const std::string& file);

}  // namespace lockstep::model

// Matrices of eight bits in a Hugging Face folder, and of four in compressed-tensors' words, put
// together with their scales.
#pragma once

#include <optional>
#include <vector>

#include "model/hf_quantization.h"
#include "model/tensor_parts.h"

namespace lockstep::model {

// Takes every "<module>.weight" of type e4m3 or i8 with its ".weight_scale" (".weight_scale_inv" in
// the files of DeepSeek and Qwen, which multiplies all the same), f32, f16 or bf16: [1], [rows, 1]
// or [blocks of rows, blocks of columns]; and every "<module>.weight_packed", whose numbers lie in
// words, as "<module>.weight", with ".weight_zero_point" where its type is u4_zeros. What says how
// another program rounds activations or its cache (input_scale, activation_scale, k_scale, v_scale)
// is dropped.
//
// Throws Error naming the file and the tensor when a scale is missing, has another type or shape
// than the matrix asks for, or a value that is no scale; when the columns are not a multiple of 32;
// and for other zero points and biases that are not zero, a weight_shape that is
// not the words', and a weight_g_idx that is not in order. Without `quantization`, or if it is of
// another type, for any such matrix.
std::vector<Tensor> join_bytes(TensorParts& parts,
                               const std::optional<HfQuantization>& quantization);

}  // namespace lockstep::model

// The quantizers of eight bits, and of four as compressed-tensors has them, in config.json's
// quantization_config.
#pragma once

#include "model/hf_quantization.h"
#include "model/json_file.h"

namespace lockstep::model {

// How weights are stored; what a file says of activations and of the cache has no part in what is
// computed. Throw Error naming config.json and the field, also for activations of other than eight
// bits where a file says how many.
//
// "fp8": e4m3 with a scale for a matrix (AutoFP8), or for blocks of weight_block_size (DeepSeek,
// Qwen; transformers' fine-grained FP8). activation_scheme: dynamic or static.
HfQuantization read_fp8(const JsonFields& fields);
// "fbgemm_fp8": e4m3 with a scale a row.
HfQuantization read_fbgemm_fp8(const JsonFields& fields);
// "compressed-tensors": format float-quantized (e4m3), int-quantized (i8), naive-quantized (either,
// as weights.type says) or pack-quantized (u8 or u4), symmetric, with a scale for a matrix
// ("tensor"), a row ("channel"), of e4m3 a block
// ("block"), and in packed words group_size columns of a row ("group"). Words of four bits may have
// zero points ("symmetric": false: u4_zeros), one for each scale of a row or a group.
HfQuantization read_compressed_tensors(const JsonFields& fields);

}  // namespace lockstep::model

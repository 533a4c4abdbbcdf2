// How a quantized Hugging Face folder stores its matrices: config.json's quantization_config.
#pragma once

#include <cstdint>
#include <optional>

#include "kernels/dtype.h"
#include "model/json_file.h"

namespace lockstep::model {

struct HfQuantization {
  kernels::DType type;  // gptq, awq, e4m3, i8, u8, u4 or u4_zeros
  // Of gptq and awq:
  std::int64_t group_size = -1;   // columns that share a scale: a multiple of 32, or -1: all
  std::uint32_t zero_offset = 0;  // kernels::SeparateScales
  // Of the others: rows and columns that share a scale, multiples of 32, or 1 row; -1: all.
  std::int64_t scale_rows = -1;
  std::int64_t scale_columns = -1;
  bool desc_act = false;  // activation order: g_idx must show that it moved nothing

  bool operator==(const HfQuantization&) const = default;
};

// Reads quantization_config, where it is there. Throws Error naming config.json, the field and what
// is supported: GPTQ (checkpoint_format gptq or gptq_v2) and AWQ (version gemm, with zero points)
// of four bits, and what hf_byte_quantization.h says; one layout for all matrices.
std::optional<HfQuantization> read_hf_quantization(const JsonFields& config);

}  // namespace lockstep::model

// The layout of GPTQ's files (AutoGPTQ, GPTQModel), four bits.
#pragma once

#include "kernels/stored_matrix.h"

namespace lockstep::kernels {

// Words [columns / 8, rows]: nibble i of a word (from its low end) is column 8 * (its row) + i.
// Words of zeros hold eight rows in order; value = scale * (nibble - zero).
//
// Files of version 1 store each zero less 1, subtracted from whole words
// (convert_gptq_v2_to_v1_format of GPTQModel): kGptqZeroOffset, added to whole words, gives them
// back. Version 2 stores them as they are. The minimum, -zero * scale, is rounded to f16: by at
// most 2^-11 of it.
inline constexpr std::uint32_t kGptqZeroOffset = 0x11111111;
QuantizedGroup read_gptq(const StoredMatrix& matrix, std::int64_t row, std::int64_t group);

}  // namespace lockstep::kernels

// The layout of AWQ's files (AutoAWQ's "gemm"), four bits.
#pragma once

#include "kernels/stored_matrix.h"

namespace lockstep::kernels {

// Words [columns, rows / 8]: nibble i of a word (from its low end) is row 8 * (its column) + (0, 2,
// 4, 6, 1, 3, 5, 7)[i]; words of zeros likewise. value = scale * (nibble - zero). The minimum,
// -zero * scale, is rounded to f16: by at most 2^-11 of it.
QuantizedGroup read_awq(const StoredMatrix& matrix, std::int64_t row, std::int64_t group);

}  // namespace lockstep::kernels

// GGUF's plain blocks of 32 values (dtype.h): q4_0, q4_1, q5_0, q5_1, q8_0.
#pragma once

#include "kernels/stored_matrix.h"

namespace lockstep::kernels {

// q4_0 counts from -8: a minimum of -8 * scale, exact in f16 unless that is beyond 65504.
QuantizedGroup read_q4_0(const StoredMatrix& matrix, std::int64_t row, std::int64_t group);
QuantizedGroup read_q4_1(const StoredMatrix& matrix, std::int64_t row, std::int64_t group);
QuantizedGroup read_q5_0(const StoredMatrix& matrix, std::int64_t row, std::int64_t group);
// Its minimum goes into the bytes: centred_bytes().
QuantizedGroup read_q5_1(const StoredMatrix& matrix, std::int64_t row, std::int64_t group);
QuantizedGroup read_q8_0(const StoredMatrix& matrix, std::int64_t row, std::int64_t group);

}  // namespace lockstep::kernels

// GGUF's superblocks of 256 values (block_q4_K, block_q5_K and block_q6_K of ggml-common.h
// in llama.cpp).
#pragma once

#include "kernels/stored_matrix.h"

namespace lockstep::kernels {

// 144 bytes: f16 d and dmin, 12 bytes of scales and minima, six bits each (sc, m), one of each for
// a group of 32, 128 bytes of nibbles; value = d * sc * nibble - dmin * m. Of groups 0 ... 3, sc[g]
// is in the low bits of byte g, m[g] in those of byte g + 4; of groups 4 ... 7 the low four bits of
// both share byte g + 4, and their high bits are the highest two of bytes g - 4 and g. Nibbles:
// groups 2p and 2p + 1 share bytes 32 * p ... 32 * p + 31, the former in the low halves.
//
// The products d * sc and dmin * m are rounded to f16: by at most 2^-11 of each.
QuantizedGroup read_q4_k(const StoredMatrix& matrix, std::int64_t row, std::int64_t group);

// 176 bytes: as q4_k, with 32 bytes of high bits in front of the nibbles: bit g of byte i is the
// fifth bit of number i of group g. The minimum goes into the bytes: centred_bytes().
QuantizedGroup read_q5_k(const StoredMatrix& matrix, std::int64_t row, std::int64_t group);

// 210 bytes: 128 bytes of the low four bits, 64 bytes of the high two, 16 signed bytes of scales
// (sc), one for 16 values, f16 d; value = d * sc * (bits - 32). Of each half of the superblock,
// groups j = 0 ... 3: low bits in bytes 32 * (j % 2) ... of its 64, halves j / 2; high bits at 2 *
// j of its 32.
//
// A group of 32 has two scales, q8 one. With a quarter of the larger the values of that half are
// whole, 4 * (bits - 32); those of the other half are rounded, by at most an eighth of the larger
// half's step (a quarter for -32, where the scales differ in their sign only). The scale is rounded
// to f16.
QuantizedGroup read_q6_k(const StoredMatrix& matrix, std::int64_t row, std::int64_t group);

}  // namespace lockstep::kernels

// Element types as they lie on disk and in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace lockstep::kernels {

// f32, f16, bf16: single values. i32: words in which other values are packed, i64: sizes; never
// weights themselves.
//
// The q* types are GGUF's: blocks along a row (ggml-common.h in llama.cpp).
//   q4_0: 32 values: f16 scale d, 16 bytes of nibbles; value = d * (nibble - 8)
//   q4_1: 32 values: f16 scale d, f16 minimum m, 16 bytes of nibbles; value = d * nibble + m
//   q5_0: 32 values: f16 scale d, 32 high bits, 16 bytes of nibbles; value = d * (number - 16)
//   q5_1: 32 values: f16 scale d, f16 minimum m, high bits, nibbles; value = d * number + m
//   q8_0: 32 values: f16 scale d, 32 signed bytes; value = d * byte
//   q4_k, q5_k, q6_k: 256 values with scales of their own inside (gguf_k_blocks.h)
// Nibbles of q4_0 to q5_1: byte i holds value i in its low half and value i + 16 in its high half.
//
// gptq and awq are those quantizers' files: nibbles in words, with scales and zero points in
// tensors of their own (gptq_layout.h, awq_layout.h); gptq_8 and awq_8 are such, and every zero
// point is 8. i8 and e4m3 (fp8.h) are bytes, with scales in a tensor of their own, and so are u8,
// which count from -128, and u4, two in a byte, which count from -8, or each group from less a
// zero point of its own (u4_zeros; byte_layout.h).
enum class DType {
  f32,
  f16,
  bf16,
  i32,
  i64,
  q4_0,
  q4_1,
  q5_0,
  q5_1,
  q8_0,
  q4_k,
  q5_k,
  q6_k,
  gptq,
  gptq_8,
  awq,
  awq_8,
  i8,
  u8,
  u4,
  u4_zeros,
  e4m3
};

// Whether a stored number stands for itself.
constexpr bool is_plain(DType type) {
  return type == DType::f32 || type == DType::f16 || type == DType::bf16;
}

// Whether matrices of weights may be of `type`.
bool is_of_weights(DType type);

// Values in one storage block of `type`; rows are a whole number of blocks.
std::size_t block_values(DType type);

// Bytes of one storage block of `type`.
std::size_t block_bytes(DType type);

std::string_view name(DType type);

}  // namespace lockstep::kernels

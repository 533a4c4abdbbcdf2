// Element types as they lie on disk and in memory.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace lockstep::kernels {

// The q* types are GGUF's: blocks of 32 values along a row (ggml-common.h in llama.cpp).
//   q4_0: f16 scale d, 16 bytes of nibbles; value = d * (nibble - 8)
//   q4_1: f16 scale d, f16 minimum m, 16 bytes of nibbles; value = d * nibble + m
//   q8_0: f16 scale d, 32 signed bytes; value = d * byte
// Nibbles: byte i holds value i in its low half and value i + 16 in its high half.
enum class DType { f32, f16, bf16, q4_0, q4_1, q8_0 };

// Values in one storage block of `type`; rows are a whole number of blocks.
constexpr std::size_t block_values(DType type) {
  return type == DType::q4_0 || type == DType::q4_1 || type == DType::q8_0 ? 32 : 1;
}

// Bytes of one storage block of `type`.
constexpr std::size_t block_bytes(DType type) {
  switch (type) {
    case DType::f32: return 4;
    case DType::f16:
    case DType::bf16: return 2;
    case DType::q4_0: return 18;
    case DType::q4_1: return 20;
    case DType::q8_0: return 34;
  }
  return 0;
}

constexpr std::string_view name(DType type) {
  switch (type) {
    case DType::f32: return "f32";
    case DType::f16: return "f16";
    case DType::bf16: return "bf16";
    case DType::q4_0: return "q4_0";
    case DType::q4_1: return "q4_1";
    case DType::q8_0: return "q8_0";
  }
  return "unknown";
}

}  // namespace lockstep::kernels

// The form in which activations enter a product.
#pragma once

#include "kernels/packed_matrix.h"

namespace lockstep::kernels {

// f32: as they are. bf16: rounded, for weights in bf16. int8: bytes with one scale per group of 32
// values, for quantized weights.
enum class ActivationFormat { f32, bf16, int8 };

// The format that suits the weights: as exact as they are, and the fastest of those.
constexpr ActivationFormat natural_activations(PackedFormat weights) {
  switch (weights) {
    case PackedFormat::q4:
    case PackedFormat::q8: return ActivationFormat::int8;
    case PackedFormat::bf16: return ActivationFormat::bf16;
    case PackedFormat::f16:
    case PackedFormat::f32: break;
  }
  return ActivationFormat::f32;
}

}  // namespace lockstep::kernels

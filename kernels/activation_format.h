// The form in which activations enter a product.
#pragma once

#include "kernels/packed_matrix.h"

namespace lockstep::kernels {

// f32: as they are. bf16: rounded. int8: bytes with one scale per group of 32 values.
enum class ActivationFormat { f32, bf16, int8 };

// The format that suits the weights: as exact as they are, and the fastest of those. A matrix unit
// multiplies bf16.
constexpr ActivationFormat natural_activations(PackedFormat weights,
                                               PackedLayout layout = PackedLayout::interleaved) {
  if (layout == PackedLayout::rows) return ActivationFormat::bf16;
  switch (weights) {
    case PackedFormat::q4:
    case PackedFormat::q4_0:
    case PackedFormat::q8: return ActivationFormat::int8;
    case PackedFormat::f8:
    case PackedFormat::bf16: return ActivationFormat::bf16;
    case PackedFormat::f16:
    case PackedFormat::f32: break;
  }
  return ActivationFormat::f32;
}

// Whether there is a product of these: f32 suits all interleaved weights, bf16 those that bf16
// holds exactly and the quantized ones, int8 the interleaved ones that count in whole numbers.
constexpr bool suits(ActivationFormat activations, PackedFormat weights,
                     PackedLayout layout = PackedLayout::interleaved) {
  const bool quantized =
      weights == PackedFormat::q4 || weights == PackedFormat::q4_0 || weights == PackedFormat::q8;
  switch (activations) {
    case ActivationFormat::f32: return layout == PackedLayout::interleaved;
    case ActivationFormat::bf16:
      return quantized || weights == PackedFormat::f8 || weights == PackedFormat::bf16;
    case ActivationFormat::int8: break;
  }
  return quantized && layout == PackedLayout::interleaved;
}

}  // namespace lockstep::kernels

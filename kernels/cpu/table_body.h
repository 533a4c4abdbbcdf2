// Puts one family's operations into its table.
#pragma once

#include "kernels/cpu/attention_body.h"
#include "kernels/cpu/elementwise_body.h"
#include "kernels/cpu/linear_body.h"
#include "kernels/cpu/quantize_body.h"
#include "kernels/cpu/swiglu_body.h"

namespace lockstep::kernels::cpu {

// Q: tile_runner().
template <class S, class Q>
constexpr KernelTable make_table(const char* name) {
  return {.name = name,
          .bf16_layout = PackedLayout::interleaved,
          .linear = linear<S, Q>,
          .swiglu = swiglu<S, Q>,
          .quantize_rows = quantize_rows<S>,
          .round_rows = round_rows<S>,
          .tile_rows = nullptr,
          .rms_norm = rms_norm<S>,
          .add = add<S>,
          .rope = rope<S>,
          .store_kv = store_kv<S>,
          .attention = VectorAttention<S>::Operations::attention,
          .attention_chunk = VectorAttention<S>::Operations::chunk,
          .combine_chunks = VectorAttention<S>::Operations::combine};
}

}  // namespace lockstep::kernels::cpu

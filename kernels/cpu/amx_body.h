// The table of a family with a matrix unit U: AMX (amx.cc), and in tests its emulation. What is not
// multiplied in bf16 goes the way of AVX-512.
#pragma once

#include "kernels/cpu/simd_avx512_bf16.h"
#include "kernels/cpu/table_body.h"
#include "kernels/cpu/unit_attention.h"
#include "kernels/cpu/unit_product.h"
#include "kernels/cpu/unit_swiglu.h"
#include "kernels/cpu/vnni_dot.h"

namespace lockstep::kernels::cpu {

// The vectors beside a unit.
struct UnitSimd : Avx512Bf16Simd {
  static constexpr std::size_t kStreams = kUnitStreams;
};

template <class U>
void linear_with_unit(const LinearCall& call) {
  if (call.weights->layout() != PackedLayout::rows) {
    return linear<UnitSimd, VnniDots>(call);
  }
  switch (call.weights->format()) {
    case PackedFormat::q4: return unit_linear<U, UnitQ4>(call);
    case PackedFormat::q4_0: return unit_linear<U, UnitScaledQ4>(call);
    case PackedFormat::q8: return unit_linear<U, UnitQ8>(call);
    case PackedFormat::f8: return unit_linear<U, UnitF8>(call);
    default: return unit_linear<U, UnitBf16>(call);
  }
}

template <class U, class Gate>
void swiglu_of_gate(const SwigluCall& call) {
  switch (call.up->format()) {
    case PackedFormat::q4: return UnitSwiglu<U, Gate, UnitQ4>(call).run();
    case PackedFormat::q4_0: return UnitSwiglu<U, Gate, UnitScaledQ4>(call).run();
    case PackedFormat::q8: return UnitSwiglu<U, Gate, UnitQ8>(call).run();
    case PackedFormat::f8: return UnitSwiglu<U, Gate, UnitF8>(call).run();
    default: return UnitSwiglu<U, Gate, UnitBf16>(call).run();
  }
}

// REQUIRES: gate and up lie in the same layout.
template <class U>
void swiglu_with_unit(const SwigluCall& call) {
  if (call.up->layout() != PackedLayout::rows) {
    return swiglu<UnitSimd, VnniDots>(call);
  }
  switch (call.gate.weights->format()) {
    case PackedFormat::q4: return swiglu_of_gate<U, UnitQ4>(call);
    case PackedFormat::q4_0: return swiglu_of_gate<U, UnitScaledQ4>(call);
    case PackedFormat::q8: return swiglu_of_gate<U, UnitQ8>(call);
    case PackedFormat::f8: return swiglu_of_gate<U, UnitF8>(call);
    default: return swiglu_of_gate<U, UnitBf16>(call);
  }
}

template <class U>
constexpr KernelTable make_unit_table(const char* name) {
  KernelTable table = make_table<UnitSimd, VnniDots>(name);
  table.bf16_layout = PackedLayout::rows;
  table.tile_rows = tile_rows<UnitSimd>;
  table.linear = linear_with_unit<U>;
  table.swiglu = swiglu_with_unit<U>;
  table.attention = UnitAttention<U>::Operations::attention;
  table.attention_chunk = UnitAttention<U>::Operations::chunk;
  table.combine_chunks = UnitAttention<U>::Operations::combine;
  return table;
}

}  // namespace lockstep::kernels::cpu

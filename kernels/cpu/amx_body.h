// The table of a family with a matrix unit U: AMX (amx.cc), and in tests its emulation. What is not
// multiplied in bf16 goes the way of AVX-512.
#pragma once

#include "kernels/cpu/simd_avx512_bf16.h"
#include "kernels/cpu/swiglu_body.h"
#include "kernels/cpu/table_body.h"
#include "kernels/cpu/unit_attention.h"
#include "kernels/cpu/unit_product.h"
#include "kernels/cpu/vnni_dot.h"

namespace lockstep::kernels::cpu {

template <class U, class W>
void unit_linear(const LinearCall& call) {
  const UnitInUse<U> in_use(call.m);
  UnitProduct<U, W> product(call);
  for (std::int64_t first = 0; first < call.m; first += product.panel()) {
    const std::int64_t last = std::min(first + product.panel(), call.m);
    for (std::int64_t block = call.block_begin; block < call.block_end; block += 2) {
      product.take(block, static_cast<int>(std::min<std::int64_t>(2, call.block_end - block)));
      for (std::int64_t token = first; token < last; token += product.kTokens) {
        product.multiply(token, call.out + token * call.row_stride + block * kRowBlock);
      }
    }
  }
}

// The sums of a group of 32 columns go from tiles into 8 KiB of stack and leave rounded.
template <class U, class Gate, class Up>
class UnitSwiglu {
 public:
  explicit UnitSwiglu(const SwigluCall& call)
      : call_(call), gate_call_(call.gate), up_call_(call.gate) {
    gate_call_.row_stride = up_call_.row_stride = kGroup;
    up_call_.weights = call.up;
  }

  void run() {
    const std::int64_t m = gate_call_.m;
    const UnitInUse<U> in_use(m);
    UnitProduct<U, Gate> gate(gate_call_);
    UnitProduct<U, Up> up(up_call_);
    for (std::int64_t first = 0; first < m; first += gate.panel()) {
      const std::int64_t last = std::min(first + gate.panel(), m);
      for (std::int64_t group = call_.group_begin; group < call_.group_end; ++group) {
        const std::int64_t gate_block = group * (call_.interleaved ? 4 : 2);
        gate.take(gate_block, 2);
        up.take(gate_block + (call_.interleaved ? 2 : 0), 2);
        for (std::int64_t token = first; token < last; token += kTokens) {
          gate.multiply(token, gates_);
          up.multiply(token, ups_);
          write(group, token, std::min(kTokens, last - token));
        }
      }
    }
  }

 private:
  static constexpr std::int64_t kTokens = UnitProduct<U, Gate>::kTokens;

  void write(std::int64_t group, std::int64_t token, std::int64_t tokens) {
    silu_mul<Avx512Bf16Simd>(gates_, ups_, tokens * kGroup, gates_);
    write_groups<Avx512Bf16Simd>(call_, gates_, token, tokens, group, 1);
  }

  const SwigluCall& call_;
  LinearCall gate_call_, up_call_;
  alignas(64) float gates_[kTokens * kGroup];
  alignas(64) float ups_[kTokens * kGroup];
};

template <class U>
void linear_with_unit(const LinearCall& call) {
  if (call.weights->layout() != PackedLayout::rows) {
    return linear<Avx512Bf16Simd, VnniQ4, VnniQ8>(call);
  }
  switch (call.weights->format()) {
    case PackedFormat::q4: return unit_linear<U, UnitQ4>(call);
    case PackedFormat::q8: return unit_linear<U, UnitQ8>(call);
    case PackedFormat::f8: return unit_linear<U, UnitF8>(call);
    default: return unit_linear<U, UnitBf16>(call);
  }
}

template <class U, class Gate>
void swiglu_of_gate(const SwigluCall& call) {
  switch (call.up->format()) {
    case PackedFormat::q4: return UnitSwiglu<U, Gate, UnitQ4>(call).run();
    case PackedFormat::q8: return UnitSwiglu<U, Gate, UnitQ8>(call).run();
    case PackedFormat::f8: return UnitSwiglu<U, Gate, UnitF8>(call).run();
    default: return UnitSwiglu<U, Gate, UnitBf16>(call).run();
  }
}

// REQUIRES: gate and up lie in the same layout.
template <class U>
void swiglu_with_unit(const SwigluCall& call) {
  if (call.up->layout() != PackedLayout::rows) {
    return swiglu<Avx512Bf16Simd, VnniQ4, VnniQ8>(call);
  }
  switch (call.gate.weights->format()) {
    case PackedFormat::q4: return swiglu_of_gate<U, UnitQ4>(call);
    case PackedFormat::q8: return swiglu_of_gate<U, UnitQ8>(call);
    case PackedFormat::f8: return swiglu_of_gate<U, UnitF8>(call);
    default: return swiglu_of_gate<U, UnitBf16>(call);
  }
}

template <class U>
constexpr KernelTable make_unit_table(const char* name) {
  KernelTable table = make_table<Avx512Bf16Simd, VnniQ4, VnniQ8>(name);
  table.bf16_layout = PackedLayout::rows;
  table.tile_rows = tile_rows<Avx512Bf16Simd>;
  table.linear = linear_with_unit<U>;
  table.swiglu = swiglu_with_unit<U>;
  table.attention = UnitAttention<U>::Operations::attention;
  table.attention_chunk = UnitAttention<U>::Operations::chunk;
  table.combine_chunks = UnitAttention<U>::Operations::combine;
  return table;
}

}  // namespace lockstep::kernels::cpu

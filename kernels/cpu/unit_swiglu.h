// The two products into a SwiGLU MLP and its activation on a matrix unit U: weights of the gate in
// format Gate, of up in format Up (unit_weights.h). The sums of groups of 32 columns go from tiles
// into 16 KiB of stack and leave rounded.
#pragma once

#include "kernels/cpu/swiglu_body.h"
#include "kernels/cpu/unit_product.h"

namespace lockstep::kernels::cpu {

template <class U, class Gate, class Up>
class UnitSwiglu {
 public:
  explicit UnitSwiglu(const SwigluCall& call)
      : call_(call), gate_call_(call.gate), up_call_(call.gate) {
    gate_call_.row_stride = up_call_.row_stride = kGroup;
    up_call_.weights = call.up;
  }

  void run() {
    const UnitInUse<U> in_use(gate_call_.m);
    const std::int64_t bytes =
        kHalves * gate_call_.weights->groups() * (Gate::kGroupBytes + Up::kGroupBytes);
    visit_passes<std::min(Gate::kTokenTiles, Up::kTokenTiles)>(
        gate_call_.m, call_.group_begin, call_.group_end, bytes,
        [&]<class Tokens>(Tokens, std::int64_t token, const auto& groups) {
          run_pass<Tokens>(token, groups);
        });
  }

 private:
  // Groups of N streams by the tokens of a pass.
  template <class Tokens, std::size_t N>
  void run_pass(std::int64_t token, const std::array<std::int64_t, N>& groups) {
    constexpr std::int64_t kTokens = Tokens::kTiles * kUnitTokens;
    static_assert(int{N} * kTokens <= kUnitSums * kUnitTokens);
    std::array<std::int64_t, N> gates, ups;
    std::array<float*, N> gate_sums, up_sums;
    for (std::size_t s = 0; s < N; ++s) {
      const std::int64_t place = static_cast<std::int64_t>(s) * kTokens * kGroup;
      gates[s] = gate_block(call_, groups[s]);
      ups[s] = up_block(call_, groups[s]);
      gate_sums[s] = gates_ + place;
      up_sums[s] = ups_ + place;
    }
    multiply_halves<Gate, Tokens>(gate_call_, token, gates, gate_sums);
    multiply_halves<Up, Tokens>(up_call_, token, ups, up_sums);
    const std::int64_t tokens = std::min(kTokens, gate_call_.m - token);
    for (std::size_t s = 0; s < N; ++s) {
      silu_mul<Avx512Bf16Simd>(gate_sums[s], up_sums[s], tokens * kGroup, gate_sums[s]);
      write_groups<Avx512Bf16Simd>(call_, gate_sums[s], token, tokens, groups[s], 1);
    }
  }

  template <class W, class Tokens, std::size_t N>
  static void multiply_halves(const LinearCall& call, std::int64_t token,
                              std::array<std::int64_t, N> blocks, std::array<float*, N> sums) {
    for (std::int64_t half = 0; half < kHalves; ++half) {
      multiply_pass<U, W, Tokens>(call, token, blocks, sums);
      for (std::size_t s = 0; s < N; ++s) {
        ++blocks[s];
        sums[s] += kRowBlock;
      }
    }
  }

  const SwigluCall& call_;
  LinearCall gate_call_, up_call_;
  alignas(64) float gates_[kUnitSums * kUnitTokens * kGroup];
  alignas(64) float ups_[kUnitSums * kUnitTokens * kGroup];
};

}  // namespace lockstep::kernels::cpu

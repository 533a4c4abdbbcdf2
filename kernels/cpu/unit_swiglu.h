// The two products into a SwiGLU MLP and its activation on a matrix unit U: weights of the gate in
// format Gate, of up in format Up (unit_weights.h).
#pragma once

#include "kernels/cpu/swiglu_body.h"
#include "kernels/cpu/unit_product.h"
#include "kernels/cpu/unit_streams.h"

namespace lockstep::kernels::cpu {

// The sums of groups of 32 columns go from tiles into 16 KiB of stack and leave rounded.
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
    if (m <= kStreamedTokens) return stream();
    UnitProduct<U, Gate> gate(gate_call_);
    UnitProduct<U, Up> up(up_call_);
    for (std::int64_t first = 0; first < m; first += gate.panel()) {
      const std::int64_t last = std::min(first + gate.panel(), m);
      for (std::int64_t group = call_.group_begin; group < call_.group_end; ++group) {
        gate.take(gate_block(group), 2);
        up.take(up_block(group), 2);
        for (std::int64_t token = first; token < last; token += kTokens) {
          gate.multiply(token, gates_);
          up.multiply(token, ups_);
          write(group, token, std::min(kTokens, last - token), gates_, ups_);
        }
      }
    }
  }

 private:
  static constexpr std::int64_t kTokens = UnitProduct<U, Gate>::kTokens;
  static constexpr std::int64_t kBuffer = 2 * kTokens * kGroup;

  std::int64_t gate_block(std::int64_t group) const { return group * (call_.interleaved ? 4 : 2); }
  std::int64_t up_block(std::int64_t group) const {
    return gate_block(group) + (call_.interleaved ? 2 : 0);
  }

  void stream() {
    visit_tokens(gate_call_.m, [&]<class Tokens>(Tokens) {
      visit_together<Tokens::kStreamsRead>(
          call_.group_begin, call_.group_end,
          [&](const auto& groups) { stream_groups<Tokens>(groups); });
    });
  }

  // One group of every stream, by all tokens.
  template <class Tokens, std::size_t N>
  void stream_groups(const std::array<std::int64_t, N>& groups) {
    constexpr std::int64_t kSums = Tokens::kTiles * kUnitTokens * kGroup;  // of a group
    static_assert(kSums * std::int64_t{N} <= kBuffer);
    std::array<std::int64_t, N> gates, ups;
    std::array<float*, N> gate_sums, up_sums;
    for (std::size_t s = 0; s < N; ++s) {
      gates[s] = gate_block(groups[s]);
      ups[s] = up_block(groups[s]);
      gate_sums[s] = gates_ + kSums * static_cast<std::int64_t>(s);
      up_sums[s] = ups_ + kSums * static_cast<std::int64_t>(s);
    }
    stream_halves<Gate, Tokens>(gate_call_, gates, gate_sums);
    stream_halves<Up, Tokens>(up_call_, ups, up_sums);
    for (std::size_t s = 0; s < N; ++s) {
      write(groups[s], 0, gate_call_.m, gate_sums[s], up_sums[s]);
    }
  }

  template <class W, class Tokens, std::size_t N>
  static void stream_halves(const LinearCall& call, std::array<std::int64_t, N> blocks,
                            std::array<float*, N> sums) {
    multiply_streams<U, W, Tokens>(call, blocks, sums);
    for (std::size_t s = 0; s < N; ++s) {
      ++blocks[s];
      sums[s] += kRowBlock;
    }
    multiply_streams<U, W, Tokens>(call, blocks, sums);
  }

  void write(std::int64_t group, std::int64_t token, std::int64_t tokens, float* gates,
             const float* ups) {
    silu_mul<Avx512Bf16Simd>(gates, ups, tokens * kGroup, gates);
    write_groups<Avx512Bf16Simd>(call_, gates, token, tokens, group, 1);
  }

  const SwigluCall& call_;
  LinearCall gate_call_, up_call_;
  alignas(64) float gates_[kBuffer];
  alignas(64) float ups_[kBuffer];
};

}  // namespace lockstep::kernels::cpu

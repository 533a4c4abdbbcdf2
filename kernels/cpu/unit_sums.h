// How sums leave a matrix unit. A tile of sums has a row an output and a column a token, because
// weights are the operand from the left: so whatever widens them writes whole rows. Include only
// where AVX-512 F, BW, DQ, VL and BF16 are enabled.
#pragma once

#include <algorithm>

#include "kernels/cpu/linear_body.h"
#include "kernels/cpu/matrix_unit.h"
#include "kernels/cpu/simd_avx512_bf16.h"
#include "kernels/cpu/transpose.h"

namespace lockstep::kernels::cpu {

// How far ahead packed weights are asked for.
inline constexpr std::int64_t kUnitPrefetchBytes = 2560;

inline void prefetch_lines(const std::byte* from, std::int64_t bytes) {
  for (std::int64_t line = 0; line < bytes; line += 64) __builtin_prefetch(from + line);
}

// Lanes of one tile of sums: rows of 16 tokens, one an output; of one token alone, one row of 16
// outputs.
template <bool kOneToken>
class UnitSums {
 public:
  // Takes the sums of tile I of unit U as the next lane.
  template <class U, int I>
  void push(std::int32_t merges) {
    U::template store<I>(stack_.next(), kOneToken ? sizeof(float) : 16 * sizeof(float));
    stack_.pushed(merges);
  }

  // Writes what is left as the segments of the tokens from `token` on, at most 16.
  void write(const LinearCall& call, std::int64_t token, float* out) const {
    if constexpr (kOneToken) {
      stack_.write(call, out);
    } else {
      const std::int64_t tokens = std::min<std::int64_t>(call.m - token, kUnitTokens);
      for (int segment = 0; segment < stack_.segments(); ++segment) {
        write_transposed(stack_.segment(segment), tokens, out + segment * call.segment_stride,
                         call.row_stride);
      }
    }
  }

 private:
  static void write_transposed(const float* sums, std::int64_t tokens, float* out,
                               std::int64_t stride) {
    __m512i rows[16];
    for (int i = 0; i < 16; ++i) rows[i] = _mm512_loadu_si512(sums + 16 * i);
    transpose(rows);
    for (std::int64_t i = 0; i < tokens; ++i) _mm512_storeu_si512(out + i * stride, rows[i]);
  }

  LaneStack<Avx512Bf16Simd, kOneToken ? 1 : 16> stack_;
};

}  // namespace lockstep::kernels::cpu

// Sixteen floats without vector instructions: the reference that every other family equals bit for
// bit, since each operation is a single IEEE 754 one and reductions have one fixed order.
#pragma once

#include <bit>
#include <cmath>
#include <cstdint>
#include <cstring>

#include "kernels/half.h"

namespace lockstep::kernels::cpu {

struct ScalarSimd {
  struct V {
    float lane[16];
  };
  template <class F>
  static V map(F&& f) {
    V r;
    for (int i = 0; i < 16; ++i) r.lane[i] = f(i);
    return r;
  }
  static V zero() { return set(0.0f); }
  static V set(float x) {
    return map([x](int) { return x; });
  }
  static V load(const float* p) {
    V r;
    std::memcpy(&r, p, sizeof r);
    return r;
  }
  static void store(float* p, V a) { std::memcpy(p, &a, sizeof a); }
  static V load_bf16(const std::uint16_t* p) {
    return map([p](int i) { return bf16_to_float(p[i]); });
  }
  static void store_bf16(std::uint16_t* p, V a) {
    for (int i = 0; i < 16; ++i) p[i] = float_to_bf16(a.lane[i]);
  }
  static V load_f16(const std::uint16_t* p) {
    return map([p](int i) { return f16_to_float(p[i]); });
  }
  static V add(V a, V b) {
    return map([&](int i) { return a.lane[i] + b.lane[i]; });
  }
  static V sub(V a, V b) {
    return map([&](int i) { return a.lane[i] - b.lane[i]; });
  }
  static V mul(V a, V b) {
    return map([&](int i) { return a.lane[i] * b.lane[i]; });
  }
  static V div(V a, V b) {
    return map([&](int i) { return a.lane[i] / b.lane[i]; });
  }
  static V fma(V a, V b, V c) {
    return map([&](int i) { return std::fma(a.lane[i], b.lane[i], c.lane[i]); });
  }
  // The second operand where either is a NaN, as the vector instruction has it.
  static V max(V a, V b) {
    return map([&](int i) { return a.lane[i] > b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static V min(V a, V b) {
    return map([&](int i) { return a.lane[i] < b.lane[i] ? a.lane[i] : b.lane[i]; });
  }
  static V abs(V a) {
    return map([&](int i) { return std::fabs(a.lane[i]); });
  }
  // 2^n for whole n in [-126, 127].
  static V pow2(V n) {
    return map([&](int i) {
      return std::bit_cast<float>((static_cast<std::int32_t>(n.lane[i]) + 127) << 23);
    });
  }
  // Stores 16 whole numbers in [-128, 127] as bytes.
  static void store_i8(std::int8_t* p, V a) {
    for (int i = 0; i < 16; ++i) p[i] = static_cast<std::int8_t>(a.lane[i]);
  }
};

}  // namespace lockstep::kernels::cpu

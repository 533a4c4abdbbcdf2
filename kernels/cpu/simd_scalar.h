// Sixteen floats without vector instructions: the reference that every other family equals bit for
// bit, since each operation is a single IEEE 754 one and reductions have one fixed order.
#pragma once

#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "kernels/fp8.h"
#include "kernels/half.h"

namespace lockstep::kernels::cpu {

struct ScalarSimd {
  struct V {
    float lane[16];
  };
  struct Ints {
    std::int32_t lane[16];
  };
  struct Pairs {  // sixteen pairs of bf16
    std::uint16_t of[16][2];
  };
  // Rows of activations that one product tile holds sums of.
  static constexpr int kTileRows = 4;
  // Of those, how many dot products with bytes are summed side by side.
  static constexpr int kChains = 1;
  // Row blocks that one row of activations takes together (streams.h).
  static constexpr std::size_t kStreams = 1;
  // Attention: queries that share loads, tiles of 16 positions scored and registers of values
  // weighed at once.
  static constexpr int kTileQueries = 1;
  static constexpr int kScoreTiles = 1;
  static constexpr int kValueRegisters = 1;
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
  static float first(V a) { return a.lane[0]; }
  static void store(float* p, V a) { std::memcpy(p, &a, sizeof a); }
  static V load_bf16(const std::uint16_t* p) {
    return map([p](int i) { return bf16_to_float(p[i]); });
  }
  // Rounded to the nearest even; subnormal values are stored as zero.
  static void store_bf16(std::uint16_t* p, V a) {
    for (int i = 0; i < 16; ++i) p[i] = float_to_bf16_flushed(a.lane[i]);
  }
  static V load_f16(const std::uint16_t* p) {
    return map([p](int i) { return f16_to_float(p[i]); });
  }
  static Pairs load_pairs(const std::uint16_t* p) {
    Pairs r;
    std::memcpy(&r, p, sizeof r);
    return r;
  }
  // One pair, sixteen times.
  static Pairs set_pair(const std::uint16_t* p) {
    Pairs r;
    for (auto& pair : r.of) pair[0] = p[0], pair[1] = p[1];
    return r;
  }
  // Pairs of two numbers each that bf16 holds exactly.
  static Pairs pair_up(V first, V second) {
    Pairs r;
    for (int i = 0; i < 16; ++i) {
      r.of[i][0] = float_to_bf16(first.lane[i]);
      r.of[i][1] = float_to_bf16(second.lane[i]);
    }
    return r;
  }
  // The first of every pair, and a zero beside it.
  static Pairs first_of_pairs(Pairs a) {
    for (auto& pair : a.of) pair[1] = 0;
    return a;
  }
  static V firsts(Pairs a) {
    return map([&](int i) { return bf16_to_float(a.of[i][0]); });
  }
  static V seconds(Pairs a) {
    return map([&](int i) { return bf16_to_float(a.of[i][1]); });
  }
  // sums + second * second, rounded, then + first * first, rounded: what vdpbf16ps does.
  static V dot(V sums, Pairs a, Pairs b) {
    return fma(firsts(a), firsts(b), fma(seconds(a), seconds(b), sums));
  }
  // (word >> shift) & mask of sixteen 32-bit words.
  static V unsigned_bits(const std::byte* p, int shift, int mask) {
    return map([&](int i) {
      return static_cast<float>((word(p, i) >> shift) & static_cast<std::uint32_t>(mask));
    });
  }
  // Byte `index` of sixteen 32-bit words, signed.
  static V signed_byte(const std::byte* p, int index) {
    return map([&](int i) {
      return static_cast<float>(static_cast<std::int8_t>(word(p, i) >> (8 * index)));
    });
  }
  // Pairs of e4m3 numbers, which bf16 holds exactly. REQUIRES: none is a NaN.
  static Pairs load_e4m3_pairs(const std::byte* p) {
    Pairs r;
    for (int i = 0; i < 16; ++i) {
      for (int j = 0; j < 2; ++j) {
        r.of[i][j] = e4m3_to_bf16(std::to_integer<std::uint8_t>(p[2 * i + j]));
      }
    }
    return r;
  }
  static V floats(const Ints& a) {
    return map([&](int i) { return static_cast<float>(a.lane[i]); });
  }
  static Ints multiply_add(const Ints& a, int factor, const Ints& b) {
    Ints sums;
    for (int i = 0; i < 16; ++i) sums.lane[i] = a.lane[i] * factor + b.lane[i];
    return sums;
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
  // a where `sign` is below zero, else b.
  static V select_negative(V sign, V a, V b) {
    return map([&](int i) { return sign.lane[i] < 0.0f ? a.lane[i] : b.lane[i]; });
  }
  // Reductions over the sixteen lanes: halves are folded, 8, 4, 2, 1.
  static float sum(V a) {
    return fold(a, [](float x, float y) { return x + y; });
  }
  static float maximum(V a) {
    return fold(a, [](float x, float y) { return x > y ? x : y; });
  }
  // a * 2^n, where `shifted` is n + kRoundingShift (simd_math.h), by adding to the exponent.
  static V times_pow2(V a, V shifted) {
    return map([&](int i) {
      return std::bit_cast<float>(std::bit_cast<std::uint32_t>(a.lane[i]) +
                                  (std::bit_cast<std::uint32_t>(shifted.lane[i]) << 23));
    });
  }
  // Stores 16 whole numbers in [-128, 127] as bytes.
  static void store_i8(std::int8_t* p, V a) {
    for (int i = 0; i < 16; ++i) p[i] = static_cast<std::int8_t>(a.lane[i]);
  }
  // 32 bytes as bf16, which is exact.
  static void store_bf16_of_i8(std::uint16_t* p, const std::int8_t* bytes) {
    for (int i = 0; i < 32; ++i) p[i] = float_to_bf16(static_cast<float>(bytes[i]));
  }

 private:
  static std::uint32_t word(const std::byte* p, int i) {
    std::uint32_t value;
    std::memcpy(&value, p + 4 * i, sizeof value);
    return value;
  }
  template <class Combine>
  static float fold(V a, Combine combine) {
    for (int half = 8; half > 0; half /= 2) {
      for (int i = 0; i < half; ++i) a.lane[i] = combine(a.lane[i], a.lane[i + half]);
    }
    return a.lane[0];
  }
};

}  // namespace lockstep::kernels::cpu

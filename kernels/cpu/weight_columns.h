// What packed weights (packed_matrix.h) are, column by column, for every family S.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/packed_matrix.h"

namespace lockstep::kernels::cpu {

// What the quantized formats (packed_matrix.h) count, and by what it is multiplied.
template <class S, bool kMinimum>
struct FourBitIntegers {
  static constexpr bool kHasMinimum = kMinimum;
  static constexpr std::size_t kGroupBytes = kMinimum ? 320 : 288;
  static typename S::V column(const std::byte* group, int column) {
    const int shift = column % 4 * 8 + (column < 16 ? 0 : 4);
    const auto nibbles = S::unsigned_bits(group + column % 16 / 4 * 64, shift, 15);
    if constexpr (kMinimum) return nibbles;
    return S::sub(nibbles, S::set(8));
  }
  static typename S::Pairs pairs(const std::byte* group, int first) {
    return S::pair_up(column(group, first), column(group, first + 1));
  }
  static typename S::V scale(const std::byte* group) {
    return S::load_f16(reinterpret_cast<const std::uint16_t*>(group + 256));
  }
  static typename S::V minimum(const std::byte* group) {
    return S::load_f16(reinterpret_cast<const std::uint16_t*>(group + 288));
  }
};
template <class S>
using Q4Integers = FourBitIntegers<S, true>;
template <class S>
using ScaledQ4Integers = FourBitIntegers<S, false>;
template <class S>
struct Q8Integers {
  static constexpr bool kHasMinimum = false;
  static constexpr std::size_t kGroupBytes = 544;
  static typename S::V column(const std::byte* group, int column) {
    return S::signed_byte(group + column / 4 * 64, column % 4);
  }
  static typename S::Pairs pairs(const std::byte* group, int first) {
    return S::pair_up(column(group, first), column(group, first + 1));
  }
  static typename S::V scale(const std::byte* group) {
    return S::load_f16(reinterpret_cast<const std::uint16_t*>(group + 512));
  }
};
template <class S>
struct F8Numbers {
  static constexpr bool kHasMinimum = false;
  static constexpr std::size_t kGroupBytes = 576;
  static typename S::Pairs pairs(const std::byte* group, int first) {
    return S::load_e4m3_pairs(group + first * kRowBlock);
  }
  static typename S::V scale(const std::byte* group) {
    return S::load(reinterpret_cast<const float*>(group + 512));
  }
};

// Columns of the packed formats in f32.
template <class S>
struct Q4Columns {
  static typename S::V column(const std::byte* group, int column) {
    using I = Q4Integers<S>;
    return S::fma(I::scale(group), I::column(group, column), I::minimum(group));
  }
};
template <class S, class I>
struct ScaledColumns {
  static typename S::V column(const std::byte* group, int column) {
    return S::mul(I::scale(group), I::column(group, column));
  }
};
template <class S>
struct F8Columns {
  static typename S::V column(const std::byte* group, int column) {
    const auto pairs = F8Numbers<S>::pairs(group, column / 2 * 2);
    return S::mul(F8Numbers<S>::scale(group),
                  column % 2 == 0 ? S::firsts(pairs) : S::seconds(pairs));
  }
};
template <class S>
struct Bf16Columns {
  static typename S::V column(const std::byte* group, int column) {
    const auto pairs =
        S::load_pairs(reinterpret_cast<const std::uint16_t*>(group + column / 2 * 64));
    return column % 2 == 0 ? S::firsts(pairs) : S::seconds(pairs);
  }
};
template <class S>
struct F16Columns {
  static typename S::V column(const std::byte* group, int column) {
    return S::load_f16(reinterpret_cast<const std::uint16_t*>(group) + column * kRowBlock);
  }
};
template <class S>
struct F32Columns {
  static typename S::V column(const std::byte* group, int column) {
    return S::load(reinterpret_cast<const float*>(group) + column * kRowBlock);
  }
};

}  // namespace lockstep::kernels::cpu

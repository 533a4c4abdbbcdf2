// Activations to bytes, for every family S.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/simd_math.h"

namespace lockstep::kernels::cpu {

inline constexpr float kLargestByte = 127.0f;
// Groups that have nothing larger count as zero: their inverse scales would not be finite.
inline constexpr float kLeastLargest = 1e-30f;
// A group is wide whose scale is so many times the mean of its row.
inline constexpr float kWideScale = 3.0f;

// Up to sixteen groups of 32 values to the nearest bytes, and to even ones: scale = max|x| / 127.
// Largest magnitudes and sums are found for all of them at once (simd_math.h), where one after
// the other would wait for itself.
template <class S>
class QuantizedGroups {
 public:
  static constexpr int kMost = 16;

  explicit QuantizedGroups(const QuantizedRows& to) : to_(to) {}

  // The group of `values` is to be that of a row and a column on, when write() is called.
  void add(const float* values, std::int64_t row, std::int64_t column) {
    values_[count_] = values;
    bytes_[count_] = to_.values + row * to_.value_stride + column;
    groups_[count_++] = row * to_.group_stride + column / kGroup;
  }
  bool is_full() const { return count_ == kMost; }

  void write() {
    typename S::V each[kMost];
    for (int i = 0; i < kMost; ++i) {
      each[i] = i < count_ ? S::max(S::abs(first(i)), S::abs(last(i))) : S::zero();
    }
    const auto largest = maxima<S>(each);
    const auto is_large = S::sub(S::set(kLeastLargest), largest);  // negative
    alignas(64) float inverse[kMost];
    S::store(inverse,
             S::select_negative(is_large, S::div(S::set(kLargestByte), largest), S::zero()));
    for (int i = 0; i < count_; ++i) {
      const auto q_first = round<S>(S::mul(first(i), S::set(inverse[i])));
      const auto q_last = round<S>(S::mul(last(i), S::set(inverse[i])));
      S::store_i8(bytes_[i], q_first);
      S::store_i8(bytes_[i] + 16, q_last);
      each[i] = S::add(q_first, q_last);
    }
    write_scales(largest, sums<S>(each));  // sums of whole numbers: exact
    count_ = 0;
  }

 private:
  // The halves of a group.
  typename S::V first(int i) const { return S::load(values_[i]); }
  typename S::V last(int i) const { return S::load(values_[i] + 16); }

  // A group that has no sum, as something in it is not finite, is not a number as a whole.
  void write_scales(typename S::V largest, typename S::V sums) {
    const auto none = S::sub(sums, sums);  // zero, or not a number
    const auto scales = S::add(S::div(largest, S::set(kLargestByte)), none);
    alignas(64) float scale[kMost], offset[kMost], sum[kMost];
    S::store(scale, scales);
    S::store(offset, S::mul(scales, sums));
    S::store(sum, sums);
    for (int i = 0; i < count_; ++i) {
      const std::int64_t group = groups_[i];
      to_.scales[group] = scale[i];
      to_.offsets[group] = offset[i];
      to_.biases[group] = std::isfinite(sum[i]) ? -128 * static_cast<std::int32_t>(sum[i]) : 0;
      to_.wide[group] = 0;
    }
  }

  const QuantizedRows& to_;
  const float* values_[kMost];
  std::int8_t* bytes_[kMost];
  std::int64_t groups_[kMost];
  int count_ = 0;
};

// Makes a group wide: whole numbers of two bytes, scale = max|x| / (127 * kWideBase).
template <class S>
void write_wide(const float* values, const QuantizedRows& to) {
  constexpr float kBase = kWideBase, kLargest = kLargestByte * kBase;
  const float largest = S::maximum(S::max(S::abs(S::load(values)), S::abs(S::load(values + 16))));
  if (!(largest > kLeastLargest)) return;
  const auto inverse = S::set(kLargest / largest);
  auto byte_sum = S::zero(), low_sum = S::zero();
  for (int i = 0; i < kGroup; i += 16) {
    const auto number = round<S>(S::mul(S::load(values + i), inverse));
    const auto byte = round<S>(S::mul(number, S::set(1.0f / kBase)));  // the base is odd: no ties
    const auto low_byte = S::sub(number, S::mul(byte, S::set(kBase)));
    S::store_i8(to.values + i, byte);
    S::store_i8(to.low + i, low_byte);
    byte_sum = S::add(byte_sum, byte);
    low_sum = S::add(low_sum, low_byte);
  }
  const float bytes = S::sum(byte_sum), low_bytes = S::sum(low_sum);  // whole, hence exact
  *to.scales = largest / kLargest;
  *to.offsets = *to.scales * (bytes * kBase + low_bytes);
  *to.biases = -128 * static_cast<std::int32_t>(bytes);
  *to.low_biases = -128 * static_cast<std::int32_t>(low_bytes);
  *to.wide = 1;
}

// Of one row, the groups that make most of the noise: in a language model's norms these are the
// same few for most tokens, those of the channels with large values.
template <class S>
void widen_row(const float* values, const QuantizedRows& to, std::int64_t columns) {
  float sum = 0.0f;
  for (std::int64_t g = 0; g < columns / kGroup; ++g) sum += to.scales[g];
  const float limit = kWideScale * sum / static_cast<float>(columns / kGroup);
  for (std::int64_t column = 0; column < columns; column += kGroup) {
    const QuantizedRows group = to.from(0, column);
    if (*group.scales > limit) write_wide<S>(values + column, group);
  }
}

template <class S>
void quantize_rows(const ActivationRows& x, std::int64_t rows, std::int64_t columns) {
  QuantizedGroups<S> groups(x.bytes);
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t column = 0; column < columns; column += kGroup) {
      groups.add(x.values + row * x.stride + column, row, column);
      if (groups.is_full()) groups.write();
    }
  }
  groups.write();
  if (!x.bytes.has_wide_groups) return;
  for (std::int64_t row = 0; row < rows; ++row) {
    widen_row<S>(x.values + row * x.stride, x.bytes.from(row, 0), columns);
  }
}

}  // namespace lockstep::kernels::cpu

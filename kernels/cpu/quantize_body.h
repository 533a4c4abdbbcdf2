// Activations to bytes, for every family S.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "kernels/cpu/kernel_table.h"
#include "kernels/cpu/simd_math.h"

namespace lockstep::kernels::cpu {

// Up to sixteen groups of 32 values: their largest magnitudes and their sums are found for all of
// them at once (S::maxima, S::sums), where one after the other would wait for itself.
template <class S>
class QuantizedGroups {
 public:
  static constexpr int kMost = 16;

  // Group i is read from `values` and written to `bytes`; scales and the like follow when all are.
  void add(const float* values, std::int8_t* bytes, std::int64_t place) {
    values_[count_] = values;
    bytes_[count_] = bytes;
    places_[count_++] = place;
  }
  bool is_full() const { return count_ == kMost; }

  // Symmetric: scale = max|x| / 127, bytes rounded to the nearest even. A group that has no sum, as
  // something in it is not finite, is not a number as a whole.
  void write(const QuantizedRows& to) {
    if (count_ == 0) return;
    typename S::V each[kMost];
    for (int i = 0; i < kMost; ++i) {
      each[i] = i < count_ ? S::max(S::abs(low(i)), S::abs(high(i))) : S::zero();
    }
    const auto largest = S::maxima(each);
    const auto negative = S::sub(S::zero(), largest);
    S::store(numbers_, S::select_negative(negative, S::div(S::set(127.0f), largest), S::zero()));
    for (int i = 0; i < count_; ++i) {
      const auto inverse = S::set(numbers_[i]);
      const auto q_low = round<S>(S::mul(low(i), inverse));
      const auto q_high = round<S>(S::mul(high(i), inverse));
      S::store_i8(bytes_[i], q_low);
      S::store_i8(bytes_[i] + 16, q_high);
      each[i] = S::add(q_low, q_high);
    }
    const auto sums = S::sums(each);       // whole, hence exact
    const auto none = S::sub(sums, sums);  // zero, or not a number
    const auto scales = S::add(S::div(largest, S::set(127.0f)), none);
    alignas(64) float scale[kMost], offset[kMost];
    S::store(numbers_, sums);
    S::store(scale, scales);
    S::store(offset, S::mul(scales, sums));
    for (int i = 0; i < count_; ++i) {
      to.scales[places_[i]] = scale[i];
      to.offsets[places_[i]] = offset[i];
      to.biases[places_[i]] =
          std::isfinite(numbers_[i]) ? -128 * static_cast<std::int32_t>(numbers_[i]) : 0;
    }
    count_ = 0;
  }

 private:
  typename S::V low(int i) const { return S::load(values_[i]); }
  typename S::V high(int i) const { return S::load(values_[i] + 16); }

  alignas(64) float numbers_[kMost];
  const float* values_[kMost];
  std::int8_t* bytes_[kMost];
  std::int64_t places_[kMost];
  int count_ = 0;
};

template <class S>
void quantize_rows(const ActivationRows& x, std::int64_t rows, std::int64_t columns) {
  QuantizedGroups<S> groups;
  for (std::int64_t row = 0; row < rows; ++row) {
    for (std::int64_t g = 0; g < columns / kGroup; ++g) {
      groups.add(x.values + row * x.stride + g * kGroup,
                 x.bytes.values + row * x.bytes.value_stride + g * kGroup,
                 row * x.bytes.group_stride + g);
      if (groups.is_full()) groups.write(x.bytes);
    }
  }
  groups.write(x.bytes);
}

}  // namespace lockstep::kernels::cpu

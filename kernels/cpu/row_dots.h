// Integer dot products of a group, row by row, for families that gain nothing from several rows
// side by side.
#pragma once

#include "kernels/cpu/kernel_table.h"

namespace lockstep::kernels::cpu {

// What quantized_tile (product_tiles.h) asks of weights D, from D::dot(bytes, bias): the exact sums
// of weight * byte of one row, where a bias is -128 * the sum of the bytes.
template <class S, class D>
class RowDots {
 public:
  template <int R>
  void dots(const QuantizedRows& x, typename S::Ints (&out)[R]) const {
    for (int i = 0; i < R; ++i) {
      out[i] = self().dot(x.values + i * x.value_stride, x.biases[i * x.group_stride]);
    }
  }
  template <int R>
  void widen(const QuantizedRows& x, typename S::Ints (&dots)[R]) const {
    for (int i = 0; i < R; ++i) {
      const std::int64_t group = i * x.group_stride;
      if (!x.wide[group]) continue;
      const auto low = self().dot(x.low + i * x.value_stride, x.low_biases[group]);
      dots[i] = S::multiply_add(dots[i], kWideBase, low);
    }
  }

 private:
  const D& self() const { return static_cast<const D&>(*this); }
};

}  // namespace lockstep::kernels::cpu

// Functions on sixteen floats, written once for every family S: the same IEEE 754 operations in
// the same order, hence the same bits.
#pragma once

namespace lockstep::kernels::cpu {

// Added to a number below 2^22, leaves its nearest whole number (ties to even) in the low bits.
inline constexpr float kRoundingShift = 0x1.8p23f;

// To the nearest whole number, ties to even. REQUIRES: |a| < 2^22.
template <class S>
typename S::V round(typename S::V a) {
  const auto shift = S::set(kRoundingShift);
  return S::sub(S::add(a, shift), shift);
}

// 2^a for a <= 0, to about 2 units in the last place; 2^-125 below -125.
// The minimax polynomial of Cephes' exp2f.
template <class S>
typename S::V exp2_nonpositive(typename S::V a) {
  // A NaN passes: max returns its second operand then.
  const auto clamped = S::max(S::set(-125.0f), a);
  const auto shifted = S::add(clamped, S::set(kRoundingShift));
  const auto r = S::sub(clamped, S::sub(shifted, S::set(kRoundingShift)));
  auto p = S::set(1.535336188319500e-4f);
  p = S::fma(p, r, S::set(1.339887440266574e-3f));
  p = S::fma(p, r, S::set(9.618437357674640e-3f));
  p = S::fma(p, r, S::set(5.550332471162809e-2f));
  p = S::fma(p, r, S::set(2.402264791363012e-1f));
  p = S::fma(p, r, S::set(6.931472028550421e-1f));
  return S::times_pow2(S::fma(p, r, S::set(1.0f)), shifted);
}

// e^a for a <= 0, to about 2 units in the last place; e^-87 below -87.
// Cody-Waite reduction and the minimax polynomial of Cephes' expf.
template <class S>
typename S::V exp_nonpositive(typename S::V a) {
  const auto clamped = S::max(S::set(-87.0f), a);
  const auto shifted = S::fma(clamped, S::set(1.44269504f), S::set(kRoundingShift));
  const auto n = S::sub(shifted, S::set(kRoundingShift));
  auto r = S::fma(n, S::set(-0.693359375f), clamped);
  r = S::fma(n, S::set(2.12194440e-4f), r);
  auto p = S::set(1.9875691500e-4f);
  p = S::fma(p, r, S::set(1.3981999507e-3f));
  p = S::fma(p, r, S::set(8.3334519073e-3f));
  p = S::fma(p, r, S::set(4.1665795894e-2f));
  p = S::fma(p, r, S::set(1.6666665459e-1f));
  p = S::fma(p, r, S::set(5.0000001201e-1f));
  return S::times_pow2(S::add(S::fma(p, S::mul(r, r), r), S::set(1.0f)), shifted);
}

// 2^a of one number, a <= 0.
template <class S>
float exp2_of(float a) {
  return S::first(exp2_nonpositive<S>(S::set(a)));
}

// The maximum, or the sum, of each of sixteen vectors: one by one, if the family has no better way.
template <class S>
typename S::V maxima(const typename S::V (&of)[16]) {
  if constexpr (requires { S::maxima(of); }) {
    return S::maxima(of);
  } else {
    alignas(64) float each[16];
    for (int i = 0; i < 16; ++i) each[i] = S::maximum(of[i]);
    return S::load(each);
  }
}
template <class S>
typename S::V sums(const typename S::V (&of)[16]) {
  if constexpr (requires { S::sums(of); }) {
    return S::sums(of);
  } else {
    alignas(64) float each[16];
    for (int i = 0; i < 16; ++i) each[i] = S::sum(of[i]);
    return S::load(each);
  }
}

}  // namespace lockstep::kernels::cpu

// Functions on sixteen floats, written once for every family S: the same IEEE 754 operations in
// the same order, hence the same bits.
#pragma once

namespace lockstep::kernels::cpu {

// To the nearest whole number, ties to even. REQUIRES: |a| < 2^22.
template <class S>
typename S::V round(typename S::V a) {
  const auto magic = S::set(0x1.8p23f);
  return S::sub(S::add(a, magic), magic);
}

// e^a for a <= 0, to about 2 units in the last place; 0 below -87.
// Cody-Waite reduction and the minimax polynomial of Cephes' expf.
template <class S>
typename S::V exp_nonpositive(typename S::V a) {
  // A NaN passes: max and min return their second operand then.
  const auto clamped = S::max(S::set(-87.0f), a);
  const auto n = round<S>(S::mul(clamped, S::set(1.44269504f)));
  auto r = S::fma(n, S::set(-0.693359375f), clamped);
  r = S::fma(n, S::set(2.12194440e-4f), r);
  auto p = S::set(1.9875691500e-4f);
  p = S::fma(p, r, S::set(1.3981999507e-3f));
  p = S::fma(p, r, S::set(8.3334519073e-3f));
  p = S::fma(p, r, S::set(4.1665795894e-2f));
  p = S::fma(p, r, S::set(1.6666665459e-1f));
  p = S::fma(p, r, S::set(5.0000001201e-1f));
  const auto one = S::set(1.0f);
  const auto value = S::mul(S::add(S::fma(p, S::mul(r, r), r), one), S::pow2(n));
  // Times 0 below -87 and 1 above: a masked position must weigh nothing.
  const auto above = S::mul(S::add(a, S::set(87.0f)), S::set(1e30f));
  return S::mul(value, S::min(S::max(above, S::zero()), one));
}

// e^a of one number, a <= 0.
template <class S>
float exp_of(float a) {
  return S::first(exp_nonpositive<S>(S::set(a)));
}

}  // namespace lockstep::kernels::cpu

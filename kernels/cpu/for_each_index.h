// Loops whose index is a constant, as the operands of a matrix unit's instructions must be.
#pragma once

#include <utility>

namespace lockstep::kernels::cpu {

// visit<0>() ... visit<N - 1>()
template <int N, class Visit>
void for_each_index(const Visit& visit) {
  [&]<int... I>(std::integer_sequence<int, I...>) { (visit.template operator()<I>(), ...); }
  (std::make_integer_sequence<int, N>());
}

}  // namespace lockstep::kernels::cpu

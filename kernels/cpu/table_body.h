// Puts one family's operations into its table.
#pragma once

#include "kernels/cpu/attention_body.h"
#include "kernels/cpu/elementwise_body.h"
#include "kernels/cpu/linear_body.h"

namespace lockstep::kernels::cpu {

template <class S, class Q4, class Q8>
constexpr KernelTable make_table(const char* name) {
  return {name,        linear<S, Q4, Q8>, quantize_rows<S>, round_rows<S>, rms_norm<S>,
          silu_mul<S>, add<S>,            rope<S>,          store_kv<S>,   attention<S>};
}

}  // namespace lockstep::kernels::cpu

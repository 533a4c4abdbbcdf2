#include "kernels/cpu/attention_body.h"

namespace lockstep::kernels::cpu {

std::int64_t attention_scratch_floats(std::int32_t heads, std::int32_t head_dim) {
  const std::int64_t queries = std::int64_t{kQueryRows} * heads;
  return 2 * std::int64_t{kTile} * head_dim + queries * head_dim + 2 * queries;
}

}  // namespace lockstep::kernels::cpu

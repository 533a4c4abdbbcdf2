#include "kernels/cpu/attention_scratch.h"

#include "kernels/cpu/kernel_table.h"

namespace lockstep::kernels::cpu {

std::int64_t attention_scratch_floats(std::int32_t heads, std::int32_t head_dim) {
  return AttentionScratch::floats(std::int64_t{kQueryRows} * heads, head_dim);
}

std::int64_t attention_part_floats(std::int32_t queries, std::int32_t head_dim) {
  return AttentionPart::floats(queries, head_dim);
}

}  // namespace lockstep::kernels::cpu

// The ordered sum of segments: device code.
#pragma once

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/pack.h"
#include "kernels/cuda/segment_sum.h"

namespace lockstep::kernels::cuda {

// Four consecutive values of the sum, from `offset` on. REQUIRES: sum.count > 0.
template <class Thread>
LOCKSTEP_DEVICE Pack<float, 4> summed(Thread& t, const SegmentSum& sum, std::int64_t offset) {
  Pack<float, 4> stack[kMaxSegments + 1];
  int top = 0;
  for (std::int32_t segment = 0; segment < sum.count; ++segment) {
    stack[top++] = t.load(as_pack<4>(sum.segments + segment * sum.stride + offset));
    for (std::int32_t left = t.load(sum.merges + segment); left > 0; --left, --top) {
      for (int i = 0; i < 4; ++i) stack[top - 2][i] = stack[top - 2][i] + stack[top - 1][i];
    }
  }
  return stack[0];
}

// The same of `kPacks` packs, `step` apart from `offset` on, of which those below `end` are there.
// Two segments have one tree, and one has none: all of them are under way at once, and nothing is
// looked up.
template <int kPacks, class Thread>
LOCKSTEP_DEVICE void sum_packs(Thread& t, const SegmentSum& sum, std::int64_t offset, int step,
                               std::int64_t end, Pack<float, 4> (&sums)[kPacks]) {
  const auto there = [&](int k) { return offset + k * step < end; };
  if (sum.count > 2) {
#pragma unroll
    for (int k = 0; k < kPacks; ++k) {
      if (there(k)) sums[k] = summed(t, sum, offset + k * step);
    }
    return;
  }
  Pack<float, 4> second[kPacks];
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    if (!there(k)) continue;
    const float* first = sum.segments + offset + k * step;
    sums[k] = t.load(as_pack<4>(first));
    if (sum.count == 2) second[k] = t.load(as_pack<4>(first + sum.stride));
  }
  if (sum.count == 1) return;
#pragma unroll
  for (int k = 0; k < kPacks; ++k) {
    for (int i = 0; there(k) && i < 4; ++i) sums[k][i] = sums[k][i] + second[k][i];
  }
}

// Four values a thread.
template <class Thread>
LOCKSTEP_DEVICE void segment_sum(Thread& t, const SegmentSumArgs& args) {
  const std::int64_t thread = std::int64_t{t.block_x()} * t.count() + t.index();
  const std::int64_t offset = 4 * thread;
  if (offset >= args.values) return;
  t.store(as_pack<4>(args.out + offset), summed(t, args.sum, offset));
}

}  // namespace lockstep::kernels::cuda

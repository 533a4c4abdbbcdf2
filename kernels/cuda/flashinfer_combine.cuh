// The combination of the parts that FlashInfer's kernel leaves: device code.
#pragma once

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/exponential.cuh"
#include "kernels/cuda/flashinfer_attention.h"
#include "kernels/cuda/pack.h"
#include "kernels/half.h"

namespace lockstep::kernels::cuda {

// Combines a row's parts in their order, four numbers a thread: sum(2^w v) / sum(2^w). A row has
// the chunks up to its own position, whatever its tile has: one chunk alone stays as it is. The
// plan, which no kernel writes, is read before earlier kernels are waited for.
template <class Thread>
LOCKSTEP_DEVICE void combine_flashinfer_parts(Thread& t, const FlashInferCombineArgs& args) {
  constexpr float kLn2 = 0.693147181f;
  const std::int32_t size = args.query_heads * args.head_dim;
  const std::int32_t i = 4 * (t.block_y() * t.count() + t.index());
  const std::int64_t row = t.block_x();
  const std::int64_t first = t.load(args.row_part + row);
  const std::int32_t chunks = t.load(args.row_chunks + row);
  const std::int32_t head = i / args.head_dim;
  t.wait_for_earlier();
  if (i >= size) return;
  Pack<float, 4> total{};
  float largest = 0.0f;
  float sum = 1.0f;
  for (std::int32_t chunk = 0; chunk < chunks; ++chunk) {
    const std::int64_t part = first + chunk;
    const Pack<float, 4> value = t.load(as_pack<4>(args.values + part * size + i));
    const float weight = t.load(args.weights + part * args.query_heads + head);
    if (chunk == 0) {
      total = value;
      largest = weight;
      continue;
    }
    const float higher = weight > largest ? weight : largest;
    const float of_total = exp_nonpositive((largest - higher) * kLn2);
    const float of_value = exp_nonpositive((weight - higher) * kLn2);
    for (int j = 0; j < 4; ++j) total[j] = fmaf(value[j], of_value, total[j] * of_total);
    sum = fmaf(sum, of_total, of_value);
    largest = higher;
  }
  Pack<std::uint16_t, 4> out;
  for (int j = 0; j < 4; ++j) out[j] = float_to_bf16(total[j] / sum * args.value_scale);
  t.store(as_pack<4>(args.out + row * size + i), out);
}

}  // namespace lockstep::kernels::cuda

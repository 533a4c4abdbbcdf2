// Embedding lookup: device code.
#pragma once

#include "kernels/cuda/device_function.h"
#include "kernels/cuda/embedding.h"
#include "kernels/cuda/pack.h"
#include "kernels/half.h"

namespace lockstep::kernels::cuda {

// Eight columns a thread.
template <class Thread>
LOCKSTEP_DEVICE void embedding(Thread& t, const EmbeddingArgs& args) {
  const int column = 8 * (t.block_y() * t.count() + t.index());
  if (column >= args.columns) return;
  std::int32_t token = t.load(args.token_ids + t.block_x());
  if (token < 0) token = t.load(args.sampled + (-1 - token)).token_id;
  Pack<std::uint16_t, 8> row{};
  if (args.begin_token <= token && token < args.end_token) {
    row = t.load(as_pack<8>(args.table + args.layout.at(token - args.begin_token, column)));
  }
  float* out = args.out + std::int64_t{t.block_x()} * args.columns + column;
  for (int half = 0; half < 2; ++half) {
    Pack<float, 4> values;
    for (int i = 0; i < 4; ++i) values[i] = bf16_to_float(row[4 * half + i]);
    t.store(as_pack<4>(out + 4 * half), values);
  }
}

}  // namespace lockstep::kernels::cuda

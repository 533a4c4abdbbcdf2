// Copies of many runs of floats: device code.
#pragma once

#include "kernels/cuda/copy_rows.h"
#include "kernels/cuda/device_function.h"

namespace lockstep::kernels::cuda {

// Some blocks a piece, which share it out.
template <class Thread>
LOCKSTEP_DEVICE void copy_rows(Thread& t, const CopyRowsArgs& args) {
  const RowPiece piece = t.load(args.pieces + t.block_x());
  const float* from = args.from + piece.from_offset;
  float* to = args.to + piece.to_offset;
  const auto blocks = static_cast<std::int32_t>(copy_rows_grid(args).y);
  for (std::int32_t i = t.block_y() * t.count() + t.index(); i < piece.count;
       i += blocks * t.count()) {
    t.store(to + i, t.load(from + i));
  }
}

}  // namespace lockstep::kernels::cuda

// In which layouts a rank's weights are packed.
#pragma once

#include "kernels/packed_matrix.h"
#include "shard/activations.h"

namespace lockstep::shard {

// How the products want their weights.
struct Packing {
  ActivationChoice activations;
  kernels::PackedLayout bf16_layout = kernels::PackedLayout::interleaved;  // KernelTable's

  kernels::PackedLayout layout(kernels::PackedFormat format) const {
    return activations.layout(format, bf16_layout);
  }
};

}  // namespace lockstep::shard

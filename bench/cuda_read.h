// Reading of a GPU's memory and nothing else: what decoding is held against.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/cuda/grid.h"

namespace lockstep::kernels::cuda {

// Reads `bytes`, a multiple of 16. `sum`: a word that may be written to.
void launch_read(const void* from, std::size_t bytes, std::uint32_t* sum, StreamHandle stream);

}  // namespace lockstep::kernels::cuda

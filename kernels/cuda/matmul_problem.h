// A product in cublasLt's words.
#pragma once

#include <cublasLt.h>

#include "kernels/cuda/device.h"
#include "kernels/device/matmul_algorithms.h"

namespace lockstep::kernels::cuda {

// cublasLt's matrices are column-major, so that a row-major y = x * transpose(w) is, with the same
// bytes, transpose(y)[n, rows] = transpose(w)[n, k] * transpose(x)[k, rows]: w is its A, to be
// transposed, x its B, y its D.
struct MatmulProblem {
  // `rows` as they are computed: padded. Throws Error.
  MatmulProblem(const device::MatmulShape& shape, int rows, const Device& device);

  // All of them are plain memory and need no destruction.
  cublasLtMatmulDescOpaque_t operation;
  cublasLtMatrixLayoutOpaque_t w;
  cublasLtMatrixLayoutOpaque_t x;
  cublasLtMatrixLayoutOpaque_t y;
};

}  // namespace lockstep::kernels::cuda

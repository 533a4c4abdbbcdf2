// Chooses cublasLt's algorithm for a shape of product.
#pragma once

#include "kernels/cuda/matmul.h"

namespace lockstep::kernels::cuda {

// The algorithm that `known` has for the shape, or else the fastest of what cublasLt proposes,
// timed on this device with max_rows rows and then added to `known`, which is not saved.
//
// With shape.same_bits, only what sums each element in one piece and in one order is proposed: no
// split of K, no reduction between blocks, no scratch memory (which stream-K needs). cublasLt says
// nothing of the order inside a block, so that is measured: on random matrices, at 1, 2 and all
// granules of rows, and in the first, middle and last columns, the bits must be those of one
// product of 64 rows with 256 x k weights. That one is cublasLt's own first proposal and depends on
// k alone, so all shapes with this k, of whatever n, rank or world size, sum in the same order.
//
// A choice takes memory for x, w and y while it is made: call it before the weights are loaded.
// Throws Error when no algorithm passes, with how many were proposed.
device::MatmulAlgorithm choose_algorithm(CublasLt& cublas, const device::MatmulShape& shape,
                                         device::MatmulAlgorithms& known, const Stream& stream);

}  // namespace lockstep::kernels::cuda

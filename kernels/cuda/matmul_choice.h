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
// granules of rows, and in the first, middle and last columns, the bits must be those of a
// reference: 64 rows by 256 columns of weights, with cublasLt's own first algorithm for large
// products of this k. It depends on k and the output alone, so all shapes with the same k, of
// whatever n, rank or world size, sum in the same order. The reference's algorithm is among the
// proposals for every shape.
//
// A choice takes memory for x, w and y while it is made: call it before the KV cache takes what is
// left. Throws Error when no algorithm passes, with how many were proposed.
device::MatmulAlgorithm choose_algorithm(CublasLt& cublas, const device::MatmulShape& shape,
                                         device::MatmulAlgorithms& known, const Stream& stream);

}  // namespace lockstep::kernels::cuda

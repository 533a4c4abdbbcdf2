#include "kernels/cuda/matmul_problem.h"

#include "kernels/cuda/status.h"

namespace lockstep::kernels::cuda {

MatmulProblem::MatmulProblem(const device::MatmulShape& shape, int rows, const Device& device) {
  const auto columns = static_cast<std::uint64_t>(rows);
  const auto n = static_cast<std::uint64_t>(shape.n);
  const auto k = static_cast<std::uint64_t>(shape.k);
  const cudaDataType output = shape.output == device::MatmulOutput::f32 ? CUDA_R_32F : CUDA_R_16BF;
  check(cublasLtMatmulDescInit(&operation, CUBLAS_COMPUTE_32F, CUDA_R_32F),
        "cublasLtMatmulDescInit", device);
  const cublasOperation_t transposed = CUBLAS_OP_T;
  check(cublasLtMatmulDescSetAttribute(&operation, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                                       sizeof transposed),
        "cublasLtMatmulDescSetAttribute", device);
  check(cublasLtMatrixLayoutInit(&w, CUDA_R_16BF, k, n, shape.w_stride), "cublasLtMatrixLayoutInit",
        device);
  check(cublasLtMatrixLayoutInit(&x, CUDA_R_16BF, k, columns, shape.x_stride),
        "cublasLtMatrixLayoutInit", device);
  check(cublasLtMatrixLayoutInit(&y, output, n, columns, shape.n), "cublasLtMatrixLayoutInit",
        device);
}

}  // namespace lockstep::kernels::cuda

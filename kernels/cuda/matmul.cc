#include "kernels/cuda/matmul.h"

#include <cstring>
#include <string>

#include "base/error.h"
#include "kernels/cuda/matmul_problem.h"
#include "kernels/cuda/status.h"

namespace lockstep::kernels::cuda {
namespace {

// What NVIDIA recommends for Hopper (cuBLAS documentation, section 2.1.9).
constexpr std::size_t kWorkspaceBytes = std::size_t{32} << 20;
constexpr int kAlignment = 8;  // elements of bf16 in 16 bytes

std::string describe(const device::MatmulShape& shape) {
  return "product of " + std::to_string(shape.n) + " x " + std::to_string(shape.k) + " weights";
}

void require(bool holds, const device::MatmulShape& shape, const std::string& rule) {
  if (!holds) throw Error(describe(shape) + ": " + rule);
}

void check_shape(const device::MatmulShape& shape) {
  const auto multiple = [](int value) { return value > 0 && value % kAlignment == 0; };
  require(shape.k > 0, shape, "k must be positive");
  require(multiple(shape.n), shape, "n must be a multiple of 8");
  require(shape.x_stride >= shape.k && multiple(shape.x_stride), shape,
          "x_stride must be a multiple of 8, and at least k");
  require(shape.w_stride >= shape.k && multiple(shape.w_stride), shape,
          "w_stride must be a multiple of 8, and at least k");
  require(shape.max_rows > 0, shape, "max_rows must be positive");
}

cublasLtMatmulAlgo_t words_of(const device::MatmulAlgorithm& algorithm) {
  cublasLtMatmulAlgo_t words;
  static_assert(sizeof words.data == sizeof algorithm.words);
  std::memcpy(words.data, algorithm.words.data(), sizeof words.data);
  return words;
}

}  // namespace

CublasLt::CublasLt(DevicePool& pool)
    : pool_(pool), workspace_(pool, "cublasLt's scratch", kWorkspaceBytes) {
  device().bind_thread();
  cublasLtHandle_t handle = nullptr;
  check(cublasLtCreate(&handle), "cublasLtCreate", device());
  handle_.reset(handle);
}

device::MatmulMachine CublasLt::machine() const {
  int driver = 0;
  check(cudaDriverGetVersion(&driver), "cudaDriverGetVersion", device());
  return {device().description().name, driver, cublasLtGetVersion()};
}

bool Matmul::suits(const CublasLt& cublas, const device::MatmulShape& shape,
                   const device::MatmulAlgorithm& algorithm) {
  check_shape(shape);
  const cublasLtMatmulAlgo_t words = words_of(algorithm);
  const std::size_t scratch = shape.same_bits ? 0 : cublas.workspace_size();
  for (const int rows : {kRowGranule, padded_rows(shape.max_rows)}) {
    MatmulProblem problem(shape, rows, cublas.device());
    cublasLtMatmulHeuristicResult_t result{};
    const cublasStatus_t status =
        cublasLtMatmulAlgoCheck(cublas.handle(), &problem.operation, &problem.w, &problem.x,
                                &problem.y, &problem.y, &words, &result);
    if (status != CUBLAS_STATUS_SUCCESS || result.workspaceSize > scratch) return false;
  }
  return true;
}

Matmul::Matmul(const CublasLt& cublas, const device::MatmulShape& shape,
               const device::MatmulAlgorithm& algorithm)
    : cublas_(cublas), shape_(shape), algorithm_(words_of(algorithm)) {
  require(suits(cublas, shape, algorithm), shape, "cublasLt's algorithm does not suit it");
}

void Matmul::run(const void* x, const void* w, void* y, int rows, const Stream& stream) const {
  require(1 <= rows && rows <= shape_.max_rows, shape_,
          std::to_string(rows) + " rows are not in 1 to " + std::to_string(shape_.max_rows));
  MatmulProblem problem(shape_, padded_rows(rows), cublas_.device());
  const float one = 1;
  const float zero = 0;
  const bool plain = shape_.same_bits;
  check(cublasLtMatmul(cublas_.handle(), &problem.operation, &one, w, &problem.w, x, &problem.x,
                       &zero, y, &problem.y, y, &problem.y, &algorithm_,
                       plain ? nullptr : cublas_.workspace(), plain ? 0 : cublas_.workspace_size(),
                       stream.get()),
        "cublasLtMatmul", cublas_.device());
}

}  // namespace lockstep::kernels::cuda

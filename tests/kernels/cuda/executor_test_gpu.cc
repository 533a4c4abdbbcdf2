// Tests that link this run on the executor (test_gpu.h).
#include "tests/kernels/cuda/executor_test_gpu.h"

namespace lockstep::kernels::cuda {

std::string why_no_test_gpu() { return ""; }
std::unique_ptr<TestGpuBody> make_test_gpu() { return std::make_unique<ExecutorTestGpu>(); }
double product_error() { return 2e-6; }

}  // namespace lockstep::kernels::cuda

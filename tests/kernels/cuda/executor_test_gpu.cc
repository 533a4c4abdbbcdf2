// The executor as the GPU of the tests.
#include "tests/kernels/cuda/executed_gpu.h"
#include "tests/kernels/cuda/test_gpu.h"

namespace lockstep::kernels::cuda {
namespace {

class Executor final : public TestGpuBody {
 public:
  Gpu& gpu() override { return gpu_; }
  void protect(const void* first) override { gpu_.protect(first); }
  void run_product(const ProductArgs& args, const ProductShape& shape) override {
    gpu_.run(args, shape);
  }

 private:
  ExecutedGpu gpu_;
};

}  // namespace

std::string why_no_test_gpu() { return ""; }
std::unique_ptr<TestGpuBody> make_test_gpu() { return std::make_unique<Executor>(); }
double product_error() { return 2e-6; }

}  // namespace lockstep::kernels::cuda

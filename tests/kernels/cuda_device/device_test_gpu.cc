// A GPU as the GPU of the tests.
#include "kernels/cuda/stream_gpu.h"
#include "tests/kernels/cuda/test_gpu.h"
#include "tests/kernels/cuda_device/device_fixture.h"

namespace lockstep::kernels::cuda {
namespace {

class FirstDevice final : public TestGpuBody {
 public:
  FirstDevice() : device_(find_devices(), 0, 0, 1), gpu_(device_) {}
  Gpu& gpu() override { return gpu_; }
  void protect(const void* /*first*/) override {}
  void require_waiting() override {}
  void run_product(const ProductArgs& args, const ProductShape& shape) override {
    launch_product(args, shape, gpu_.stream().get());
  }

 private:
  const Device device_;
  StreamGpu gpu_;
};

}  // namespace

std::string why_no_test_gpu() { return why_no_device(); }
std::unique_ptr<TestGpuBody> make_test_gpu() { return std::make_unique<FirstDevice>(); }
// A matrix unit cuts what it adds to the bits of the largest of its terms, at every step of 16
// columns (Fasi et al., "Numerical behavior of NVIDIA tensor cores", 2021).
double product_error() { return 1e-5; }

}  // namespace lockstep::kernels::cuda

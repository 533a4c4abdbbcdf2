#include "kernels/cuda/device.h"

#include <cuda_runtime_api.h>
#include <gmock/gmock.h>

#include "kernels/cuda/status.h"
#include "tests/kernels/cuda_device/device_fixture.h"

namespace lockstep::kernels::cuda {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class CudaDevice : public OnDevice {};

TEST_F(CudaDevice, IsTheOneThatTheRuntimeDescribes) {
  cudaDeviceProp properties{};
  ASSERT_EQ(cudaGetDeviceProperties(&properties, device().ordinal()), cudaSuccess);
  EXPECT_EQ(device().description().name, properties.name);
  EXPECT_EQ(device().description().memory, properties.totalGlobalMem);
  EXPECT_EQ(device().multiprocessors(), properties.multiProcessorCount);
  int current = -1;
  ASSERT_EQ(cudaGetDevice(&current), cudaSuccess);
  EXPECT_EQ(current, device().ordinal());
}

TEST_F(CudaDevice, IsNamedInErrorsWithItsRankAndTheCall) {
  EXPECT_THAT(error_of([&] { check(cudaErrorInvalidValue, "cudaSomething", device()); }),
              AllOf(HasSubstr("rank 3"), HasSubstr("device " + std::to_string(device().ordinal())),
                    HasSubstr(device().description().name), HasSubstr("cudaSomething"),
                    HasSubstr("cudaErrorInvalidValue")));
  EXPECT_THAT(error_of([&] { check(CUBLAS_STATUS_NOT_SUPPORTED, "cublasSomething", device()); }),
              AllOf(HasSubstr("rank 3"), HasSubstr("cublasSomething"),
                    HasSubstr("CUBLAS_STATUS_NOT_SUPPORTED")));
}

TEST_F(CudaDevice, DoesNotReportAnErrorTwice) {
  const cudaError_t status = cudaSetDevice(1 << 20);
  EXPECT_THAT(error_of([&] { check(status, "cudaSetDevice", device()); }),
              HasSubstr("cudaErrorInvalidDevice"));
  EXPECT_EQ(cudaPeekAtLastError(), cudaSuccess);
}

}  // namespace
}  // namespace lockstep::kernels::cuda

#include "kernels/cuda/status.h"
#include "tests/kernels/cuda_device/test_kernels.h"

namespace lockstep::kernels::cuda {
namespace {

__device__ unsigned long long nanoseconds() {
  unsigned long long now;
  asm volatile("mov.u64 %0, %%globaltimer;" : "=l"(now));
  return now;
}

__global__ void delayed_multiply_add_kernel(int* value, int factor, int addend, int milliseconds) {
  const unsigned long long end = nanoseconds() + 1000000ull * milliseconds;
  while (nanoseconds() < end) __nanosleep(1000);
  *value = *value * factor + addend;
}

}  // namespace

void delayed_multiply_add(int* value, int factor, int addend, int milliseconds,
                          const Stream& stream) {
  delayed_multiply_add_kernel<<<1, 1, 0, stream.get()>>>(value, factor, addend, milliseconds);
  check_launch("delayed_multiply_add_kernel", stream.device());
}

}  // namespace lockstep::kernels::cuda

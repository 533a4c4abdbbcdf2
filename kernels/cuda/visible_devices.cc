#include "kernels/cuda/visible_devices.h"

#include <cuda_runtime_api.h>

#include <array>
#include <cstdlib>

#include "base/error.h"

namespace lockstep::kernels::cuda {
namespace {

device::DeviceDescription describe(int ordinal) {
  cudaDeviceProp properties{};
  cudaError_t status = cudaGetDeviceProperties(&properties, ordinal);
  std::array<char, 32> bus_id{};
  if (status == cudaSuccess) {
    status = cudaDeviceGetPCIBusId(bus_id.data(), static_cast<int>(bus_id.size()), ordinal);
  }
  if (status != cudaSuccess) {
    throw Error("CUDA device " + std::to_string(ordinal) +
                " does not say what it is: " + cudaGetErrorString(status));
  }
  return {.name = properties.name,
          .pci_bus_id = bus_id.data(),
          .compute_major = properties.major,
          .compute_minor = properties.minor,
          .memory = properties.totalGlobalMem};
}

}  // namespace

bool is_built_in() { return true; }

device::VisibleDevices find_devices() {
  device::VisibleDevices found;
  found.architectures = LOCKSTEP_CUDA_ARCHITECTURES;
  if (const char* filter = std::getenv("CUDA_VISIBLE_DEVICES")) {
    found.filtered = true;
    found.filter = filter;
  }
  cudaDriverGetVersion(&found.driver_version);  // 0 without a driver
  cudaRuntimeGetVersion(&found.runtime_version);
  int count = 0;
  if (const cudaError_t status = cudaGetDeviceCount(&count); status != cudaSuccess) {
    found.failure = cudaGetErrorString(status);
    cudaGetLastError();  // it is told, and must not be found again by a later call
    return found;
  }
  for (int ordinal = 0; ordinal < count; ++ordinal) found.devices.push_back(describe(ordinal));
  return found;
}

}  // namespace lockstep::kernels::cuda

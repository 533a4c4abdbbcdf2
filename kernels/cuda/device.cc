#include "kernels/cuda/device.h"

#include <cuda_runtime_api.h>

#include "kernels/cuda/status.h"

namespace lockstep::kernels::cuda {

Device::Device(const device::VisibleDevices& found, int rank, int local_rank, int local_ranks)
    : rank_(rank),
      ordinal_(device::choose_device(found, local_rank, local_ranks)),
      description_(found.devices[static_cast<std::size_t>(ordinal_)]) {
  bind_thread();
  check(cudaDeviceGetAttribute(&multiprocessors_, cudaDevAttrMultiProcessorCount, ordinal_),
        "cudaDeviceGetAttribute", *this);
}

// Creates the context too, since CUDA 12.
void Device::bind_thread() const { check(cudaSetDevice(ordinal_), "cudaSetDevice", *this); }

std::string Device::name() const {
  return "rank " + std::to_string(rank_) + ", CUDA device " + std::to_string(ordinal_) + " (" +
         description_.name + ")";
}

void Device::synchronize() const { check(cudaDeviceSynchronize(), "cudaDeviceSynchronize", *this); }

}  // namespace lockstep::kernels::cuda

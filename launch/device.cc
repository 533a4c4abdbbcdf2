#include "launch/device.h"

#include <string>

#include "base/error.h"
#include "kernels/cuda/visible_devices.h"

namespace lockstep::launch {

void settle_device(Device wanted, const comm::MpiEnvironment& mpi) {
  if (wanted != Device::cuda) return;
  std::string obstacle;
  try {
    const kernels::device::VisibleDevices found = kernels::cuda::find_devices();
    const int device = kernels::device::choose_device(found, mpi.local_rank(), mpi.local_size());
    obstacle = found.devices[static_cast<std::size_t>(device)].name +
               " is there, but the forward pass is not connected to CUDA yet in this version: "
               "serve with --device cpu";
  } catch (const Error& error) {
    obstacle = error.what();
  }
  throw Error("--device cuda: " + obstacle);
}

}  // namespace lockstep::launch

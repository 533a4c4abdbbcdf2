#include "launch/device.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "kernels/cuda/visible_devices.h"

namespace lockstep::launch {

Device possible_device(Device wanted, const std::string& obstacle,
                       const comm::MpiEnvironment& mpi) {
  if (wanted == Device::cpu) return Device::cpu;
  if (wanted == Device::automatic && !kernels::cuda::is_built_in()) return Device::cpu;
  try {
    if (wanted == Device::automatic && !obstacle.empty()) throw Error(obstacle);
    const kernels::device::VisibleDevices found = kernels::cuda::find_devices();
    kernels::device::choose_device(found, mpi.local_rank(), mpi.local_size());
    return Device::cuda;
  } catch (const Error& error) {
    if (wanted == Device::cuda) throw Error(std::string("--device cuda: ") + error.what());
    spdlog::info("rank {} on {}: --device auto is the CPU: {}", mpi.rank(), mpi.host_name(),
                 error.what());
    return Device::cpu;
  }
}

Device agree_on_device(Device possible, comm::Communicator& communicator) {
  std::vector<Device> all(static_cast<std::size_t>(communicator.size()));
  const std::vector<std::size_t> counts(all.size(), sizeof possible);
  communicator.all_gather(std::as_bytes(std::span(&possible, 1)),
                          std::as_writable_bytes(std::span(all)), counts, "settling the device");
  const bool all_could = std::ranges::all_of(all, [](Device d) { return d == Device::cuda; });
  if (!all_could && possible == Device::cuda && communicator.rank() == 0) {
    spdlog::warn("--device auto is the CPU: not every rank has a GPU");
  }
  return all_could ? Device::cuda : Device::cpu;
}

}  // namespace lockstep::launch

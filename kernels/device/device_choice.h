// Which GPU a rank computes on. Plain C++: what there is to choose from is given to it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace lockstep::kernels::device {

struct DeviceDescription {
  std::string name;        // "NVIDIA H200"
  std::string pci_bus_id;  // "0000:1b:00.0"; tells devices of a host apart
  int compute_major = 0;   // compute capability
  int compute_minor = 0;
  std::size_t memory = 0;  // bytes
};

// What the CUDA runtime of this process sees.
struct VisibleDevices {
  int driver_version =
      0;  // 1000 * major + 10 * minor of the newest CUDA the driver runs; 0: no driver
  int runtime_version = 0;    // of the runtime that this program was built with
  std::string failure;        // the runtime's words where it could not look; else empty
  bool filtered = false;      // CUDA_VISIBLE_DEVICES is set ...
  std::string filter;         // ... to this
  std::string architectures;  // this build has code for: "90a", or a list: "80,90a"
  std::vector<DeviceDescription> devices;
};

// The device of the rank that is the `local_rank`-th of `local_ranks` on its host. Where one is
// visible, that one: a launcher has bound the rank (srun --gpus-per-task, a wrapper that sets
// CUDA_VISIBLE_DEVICES), or the host has no more. Else the local_rank-th. Throws Error, saying what
// was found, where there is no driver, an old one, no device, fewer devices than ranks, or where
// this build has no code for the device.
int choose_device(const VisibleDevices& found, int local_rank, int local_ranks);

// Whether code for `architecture`, e.g. "80" or "90a", runs on a device of this compute capability:
// that of an architecture with a letter on no other; code without one on this and later ones.
bool runs_on(const std::string& architecture, int compute_major, int compute_minor);

}  // namespace lockstep::kernels::device

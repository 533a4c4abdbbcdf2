#include "kernels/device/device_choice.h"

#include <cctype>
#include <sstream>

#include "base/error.h"

namespace lockstep::kernels::device {
namespace {

std::string version_text(int version) {
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

std::string filter_text(const VisibleDevices& found) {
  return found.filtered ? "CUDA_VISIBLE_DEVICES is '" + found.filter + "'"
                        : "CUDA_VISIBLE_DEVICES is not set";
}

std::string list_text(const VisibleDevices& found) {
  std::string text;
  for (std::size_t i = 0; i < found.devices.size(); ++i) {
    text += (i == 0 ? "" : ", ") + std::to_string(i) + ": " + found.devices[i].name + " at " +
            found.devices[i].pci_bus_id;
  }
  return text;
}

void check_driver(const VisibleDevices& found) {
  const std::string needed = version_text(found.runtime_version);
  if (found.driver_version == 0) {
    throw Error(
        "no CUDA driver on this host (libcuda.so.1 is missing or does not load): install "
        "NVIDIA's driver for CUDA " +
        needed);
  }
  // Minor versions of one major version run each other's programs (CUDA Compatibility, section 2).
  if (found.driver_version / 1000 < found.runtime_version / 1000) {
    throw Error("the CUDA driver of this host runs programs up to CUDA " +
                version_text(found.driver_version) + ", this build is of CUDA " + needed +
                ": install a newer driver");
  }
}

void check_architecture(const VisibleDevices& found, const DeviceDescription& device) {
  std::istringstream list(found.architectures);
  for (std::string architecture; std::getline(list, architecture, ',');) {
    if (runs_on(architecture, device.compute_major, device.compute_minor)) return;
  }
  const std::string compute =
      std::to_string(device.compute_major) + "." + std::to_string(device.compute_minor);
  throw Error("this build has CUDA code for sm_" + found.architectures + ", and " + device.name +
              " has compute capability " + compute +
              ": configure with one of the presets "
              "cuda-release-sm80, -sm89, -sm90a, -sm100, or set LOCKSTEP_CUDA_ARCHITECTURE");
}

}  // namespace

bool runs_on(const std::string& architecture, int compute_major, int compute_minor) {
  std::size_t digits = 0;
  const int number = std::stoi(architecture, &digits);
  const int device = 10 * compute_major + compute_minor;
  const bool of_one_only = digits < architecture.size() &&
                           std::isalpha(static_cast<unsigned char>(architecture[digits]));
  return of_one_only ? device == number : device >= number;
}

int choose_device(const VisibleDevices& found, int local_rank, int local_ranks) {
  check_driver(found);
  const auto count = static_cast<int>(found.devices.size());
  if (count == 0) {
    throw Error("the CUDA driver (" + version_text(found.driver_version) + ") shows no device; " +
                filter_text(found) + (found.failure.empty() ? "" : "; it says: " + found.failure));
  }
  if (count > 1 && count < local_ranks) {
    throw Error("this host has " + std::to_string(local_ranks) + " ranks and shows them " +
                std::to_string(count) + " CUDA devices (" + list_text(found) + "); " +
                filter_text(found) + ": start no more ranks than devices");
  }
  const int chosen = count == 1 ? 0 : local_rank;
  check_architecture(found, found.devices[static_cast<std::size_t>(chosen)]);
  return chosen;
}

}  // namespace lockstep::kernels::device

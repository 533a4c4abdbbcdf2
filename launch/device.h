// What a rank computes on.
#pragma once

#include <string>

#include "comm/communicator.h"
#include "comm/mpi_environment.h"

namespace lockstep::launch {

enum class Device {
  automatic,  // cuda where every rank has it, else the CPU
  cpu,
  cuda,
};

// What this rank could compute on: never automatic. Touches no device and loads nothing.
// `obstacle`: why automatic cannot be cuda whatever there is, e.g. an option that GPUs do not have;
// "": nothing. Throws Error, for Device::cuda alone, naming the build preset, the driver or the
// device that is missing.
Device possible_device(Device wanted, const std::string& obstacle, const comm::MpiEnvironment& mpi);

// What all ranks compute on: cuda where all could. Collective.
Device agree_on_device(Device possible, comm::Communicator& communicator);

}  // namespace lockstep::launch

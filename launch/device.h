// What a rank computes on.
#pragma once

#include "comm/mpi_environment.h"

namespace lockstep::launch {

enum class Device {
  automatic,  // the fastest that this version can serve on: the CPU
  cpu,
  cuda,
};

// Checks, before anything is loaded, that this rank can compute on `wanted`; returns when it can.
// Throws Error naming the build preset, the driver or the device that is missing. In this version
// that is always so for cuda: the forward pass has no CUDA bodies yet, and the error says so where
// all else is there.
void settle_device(Device wanted, const comm::MpiEnvironment& mpi);

}  // namespace lockstep::launch

// The GPU of this rank.
#pragma once

#include <string>

#include "kernels/device/device_choice.h"

namespace lockstep::kernels::cuda {

// Names a rank and its device in errors, and makes the device current. Everything that is made on a
// device keeps a reference to it: it must outlive them. CUDA has one current device per thread;
// constructors and bind_thread() set it, nothing else asks which it is.
class Device {
 public:
  // Takes choose_device(found, local_rank, local_ranks) for rank `rank` of the job, and creates its
  // context. Throws Error as choose_device() does, or when the device does not start.
  Device(const device::VisibleDevices& found, int rank, int local_rank, int local_ranks);
  Device(const Device&) = delete;
  Device& operator=(const Device&) = delete;

  // Makes it the current device of the calling thread. Every thread that uses it calls this once.
  void bind_thread() const;

  int rank() const { return rank_; }
  int ordinal() const { return ordinal_; }  // among the visible ones
  int multiprocessors() const { return multiprocessors_; }
  const device::DeviceDescription& description() const { return description_; }
  std::string name() const;  // "rank 3, CUDA device 1 (NVIDIA H200)"

  // Waits until everything that was given to the device is done. Throws Error if any of it failed.
  void synchronize() const;

 private:
  const int rank_;
  const int ordinal_;
  const device::DeviceDescription description_;
  int multiprocessors_ = 0;
};

}  // namespace lockstep::kernels::cuda

// A queue of work on a device.
#pragma once

#include <cuda_runtime_api.h>

#include <memory>

#include "kernels/cuda/device.h"

namespace lockstep::kernels::cuda {

class Event;

// What is put on one stream runs in order; streams run beside each other, and none waits for the
// default stream. Movable; the device must outlive it.
class Stream {
 public:
  explicit Stream(const Device& device);

  cudaStream_t get() const { return handle_.get(); }
  const Device& device() const { return *device_; }

  // Waits, on the calling thread, until all work on it is done. Throws Error if any of it failed.
  void synchronize() const;
  // Whether all work on it is done; does not wait. Throws Error if any of it failed.
  bool idle() const;
  // Work put on it from now on waits for the event.
  void wait_for(const Event& event) const;

 private:
  struct Destroy {
    void operator()(cudaStream_t stream) const { cudaStreamDestroy(stream); }
  };
  const Device* device_;
  std::unique_ptr<CUstream_st, Destroy> handle_;
};

}  // namespace lockstep::kernels::cuda

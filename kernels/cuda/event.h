// A mark in a stream.
#pragma once

#include <cuda_runtime_api.h>

#include <chrono>
#include <memory>

#include "kernels/cuda/stream.h"

namespace lockstep::kernels::cuda {

// Recorded on a stream, it is reached when all work put there before is done. Movable; the device
// must outlive it.
class Event {
 public:
  enum class Timing { off, on };  // with clock times, recording costs a little more

  explicit Event(const Device& device, Timing timing = Timing::off);

  cudaEvent_t get() const { return handle_.get(); }

  void record(const Stream& stream);
  // Waits until the last recorded mark is reached. Throws Error if work before it failed.
  void synchronize() const;
  // Whether it is reached; does not wait. An event never recorded is reached.
  bool reached() const;

 private:
  struct Destroy {
    void operator()(cudaEvent_t event) const { cudaEventDestroy(event); }
  };
  const Device* device_;
  std::unique_ptr<CUevent_st, Destroy> handle_;
};

// The device's time from one mark to a later one; both with Timing::on, and reached.
std::chrono::duration<double, std::micro> time_between(const Event& begin, const Event& end,
                                                       const Device& device);

}  // namespace lockstep::kernels::cuda

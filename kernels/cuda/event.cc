#include "kernels/cuda/event.h"

#include "kernels/cuda/status.h"

namespace lockstep::kernels::cuda {

Event::Event(const Device& device, Timing timing) : device_(&device) {
  device.bind_thread();
  cudaEvent_t event = nullptr;
  check(cudaEventCreateWithFlags(&event,
                                 timing == Timing::on ? cudaEventDefault : cudaEventDisableTiming),
        "cudaEventCreateWithFlags", device);
  handle_.reset(event);
}

void Event::record(const Stream& stream) {
  check(cudaEventRecord(get(), stream.get()), "cudaEventRecord", *device_);
}

void Event::synchronize() const {
  check(cudaEventSynchronize(get()), "cudaEventSynchronize", *device_);
}

bool Event::reached() const {
  const cudaError_t status = cudaEventQuery(get());
  if (status == cudaErrorNotReady) {
    (void)cudaGetLastError();  // an answer, and no error for whoever asks for the last one
    return false;
  }
  check(status, "cudaEventQuery", *device_);
  return true;
}

std::chrono::duration<double, std::micro> time_between(const Event& begin, const Event& end,
                                                       const Device& device) {
  float milliseconds = 0;
  check(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()), "cudaEventElapsedTime",
        device);
  return std::chrono::duration<double, std::milli>(milliseconds);
}

}  // namespace lockstep::kernels::cuda

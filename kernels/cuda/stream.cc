#include "kernels/cuda/stream.h"

#include "kernels/cuda/event.h"
#include "kernels/cuda/status.h"

namespace lockstep::kernels::cuda {

Stream::Stream(const Device& device) : device_(&device) {
  device.bind_thread();
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "cudaStreamCreateWithFlags",
        device);
  handle_.reset(stream);
}

void Stream::synchronize() const {
  check(cudaStreamSynchronize(get()), "cudaStreamSynchronize", *device_);
}

bool Stream::idle() const {
  const cudaError_t status = cudaStreamQuery(get());
  if (status == cudaErrorNotReady) {
    (void)cudaGetLastError();  // as in Event::reached()
    return false;
  }
  check(status, "cudaStreamQuery", *device_);
  return true;
}

void Stream::wait_for(const Event& event) const {
  check(cudaStreamWaitEvent(get(), event.get(), cudaEventDefault), "cudaStreamWaitEvent", *device_);
}

}  // namespace lockstep::kernels::cuda

#include "kernels/cuda/device_buffer.h"

#include <cuda_runtime_api.h>

#include "kernels/cuda/status.h"

namespace lockstep::kernels::cuda {
namespace {

void copy(void* to, const void* from, std::size_t bytes, cudaMemcpyKind kind, const Stream& stream,
          const char* what) {
  if (bytes == 0) return;
  const cudaError_t status = cudaMemcpyAsync(to, from, bytes, kind, stream.get());
  if (status == cudaSuccess) return;
  const std::string call = "cudaMemcpyAsync of " + std::to_string(bytes) + " bytes, '" + what + "'";
  check(status, call.c_str(), stream.device());
}

}  // namespace

void copy_to_device(void* to, std::span<const std::byte> from, const Stream& stream,
                    const char* what) {
  copy(to, from.data(), from.size(), cudaMemcpyHostToDevice, stream, what);
}

void copy_to_host(std::span<std::byte> to, const void* from, const Stream& stream,
                  const char* what) {
  copy(to.data(), from, to.size(), cudaMemcpyDeviceToHost, stream, what);
}

void copy_on_device(void* to, const void* from, std::size_t bytes, const Stream& stream,
                    const char* what) {
  copy(to, from, bytes, cudaMemcpyDeviceToDevice, stream, what);
}

void clear(void* memory, std::size_t bytes, const Stream& stream, const char* what) {
  if (bytes == 0) return;
  const cudaError_t status = cudaMemsetAsync(memory, 0, bytes, stream.get());
  if (status == cudaSuccess) return;
  check(status, (std::string("cudaMemsetAsync of '") + what + "'").c_str(), stream.device());
}

}  // namespace lockstep::kernels::cuda

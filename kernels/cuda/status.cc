#include "kernels/cuda/status.h"

#include <string>

#include "base/error.h"
#include "kernels/cuda/device.h"

namespace lockstep::kernels::cuda {
namespace {

// Errors of kernels that ran before: CUDA reports them to whichever call comes next, and the
// context is of no use from then on ("sticky", CUDA Runtime API, section 6.3).
bool is_sticky(cudaError_t status) {
  switch (status) {
    case cudaErrorIllegalAddress:
    case cudaErrorLaunchTimeout:
    case cudaErrorLaunchFailure:
    case cudaErrorAssert:
    case cudaErrorHardwareStackError:
    case cudaErrorIllegalInstruction:
    case cudaErrorMisalignedAddress:
    case cudaErrorInvalidAddressSpace:
    case cudaErrorInvalidPc:
    case cudaErrorECCUncorrectable: return true;
    default: return false;
  }
}

}  // namespace

void check(cudaError_t status, const char* call, const Device& device) {
  if (status == cudaSuccess) return;
  cudaGetLastError();  // so that the next call's check does not report this one again
  throw Error(device.name() + ": " + call + ": " + cudaGetErrorString(status) + " (" +
              cudaGetErrorName(status) + ")" +
              (is_sticky(status) ? ", of this call or of a kernel started before it" : ""));
}

void check(cublasStatus_t status, const char* call, const Device& device) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(device.name() + ": " + call + ": " + cublasLtGetStatusString(status) + " (" +
              cublasLtGetStatusName(status) + ")");
}

void check_launch(const char* kernel, const Device& device) {
  check(cudaPeekAtLastError(), kernel, device);
}

}  // namespace lockstep::kernels::cuda

#include "comm/cuda/nccl_status.h"

#include "base/error.h"

namespace lockstep::comm::cuda {

std::string nccl_error_text(ncclResult_t result, ncclComm_t communicator) {
  std::string text = ncclGetErrorString(result);
  const char* const last = ncclGetLastError(communicator);
  if (last != nullptr && *last != '\0') text += std::string(": ") + last;
  return text;
}

void check_nccl(ncclResult_t result, const char* call, const std::string& who,
                ncclComm_t communicator) {
  if (result == ncclSuccess || result == ncclInProgress) return;
  throw Error(who + ": " + call + ": " + nccl_error_text(result, communicator));
}

}  // namespace lockstep::comm::cuda

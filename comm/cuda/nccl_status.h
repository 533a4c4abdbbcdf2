// NCCL's return codes as errors.
#pragma once

#include <nccl.h>

#include <string>

namespace lockstep::comm::cuda {

// "unhandled system error (ncclSystemError): <what NCCL says of its last failure>". `communicator`
// may be nullptr.
std::string nccl_error_text(ncclResult_t result, ncclComm_t communicator);

// Throws Error unless the call succeeded or, as calls to a non-blocking communicator may, goes on
// in the background. `who` names the rank and its device.
void check_nccl(ncclResult_t result, const char* call, const std::string& who,
                ncclComm_t communicator = nullptr);

}  // namespace lockstep::comm::cuda

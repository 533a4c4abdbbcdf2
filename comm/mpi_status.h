// MPI's return codes as errors.
#pragma once

#include <string>

namespace lockstep::comm {

// MPI's own words for a return code.
std::string mpi_error_text(int code);

// Throws Error unless `code` is MPI_SUCCESS. `call` names the function that returned it.
void check_mpi(int code, const char* call);

}  // namespace lockstep::comm

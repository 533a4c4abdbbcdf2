#include "comm/mpi_status.h"

#include <mpi.h>

#include <array>

#include "base/error.h"

namespace lockstep::comm {

std::string mpi_error_text(int code) {
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  return {text.data(), static_cast<std::size_t>(length)};
}

void check_mpi(int code, const char* call) {
  if (code != MPI_SUCCESS) throw Error(std::string(call) + ": " + mpi_error_text(code));
}

}  // namespace lockstep::comm

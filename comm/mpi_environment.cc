#include "comm/mpi_environment.h"

#include <mpi.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstdlib>
#include <exception>

#include "base/error.h"
#include "comm/mpi_status.h"

namespace lockstep::comm {
namespace {

// The ranks of this host, ordered as in the world. Collective over the world, also to free.
class HostRanks {
 public:
  explicit HostRanks(int rank) {
    check_mpi(
        MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &handle_),
        "MPI_Comm_split_type");
  }
  ~HostRanks() {
    if (std::uncaught_exceptions() == exceptions_) MPI_Comm_free(&handle_);
  }
  HostRanks(const HostRanks&) = delete;
  HostRanks& operator=(const HostRanks&) = delete;
  MPI_Comm handle() const { return handle_; }

 private:
  const int exceptions_ = std::uncaught_exceptions();
  MPI_Comm handle_ = MPI_COMM_NULL;
};

}  // namespace

MpiEnvironment::MpiEnvironment() : exceptions_(std::uncaught_exceptions()) {
  int provided = MPI_THREAD_SINGLE;
  check_mpi(MPI_Init_thread(nullptr, nullptr, MPI_THREAD_MULTIPLE, &provided), "MPI_Init_thread");
  if (provided < MPI_THREAD_SERIALIZED) {
    throw Error("this MPI cannot be called from more than one thread (MPI_THREAD_SERIALIZED)");
  }
  check_mpi(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), "MPI_Comm_set_errhandler");
  check_mpi(MPI_Comm_rank(MPI_COMM_WORLD, &rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(MPI_COMM_WORLD, &size_), "MPI_Comm_size");

  const HostRanks host(rank_);
  check_mpi(MPI_Comm_rank(host.handle(), &local_rank_), "MPI_Comm_rank");
  check_mpi(MPI_Comm_size(host.handle(), &local_size_), "MPI_Comm_size");

  int lowest = rank_;
  check_mpi(MPI_Bcast(&lowest, 1, MPI_INT, 0, host.handle()), "MPI_Bcast");
  hosts_.resize(static_cast<std::size_t>(size_));
  check_mpi(MPI_Allgather(&lowest, 1, MPI_INT, hosts_.data(), 1, MPI_INT, MPI_COMM_WORLD),
            "MPI_Allgather");

  std::array<char, MPI_MAX_PROCESSOR_NAME> name{};
  int length = 0;
  check_mpi(MPI_Get_processor_name(name.data(), &length), "MPI_Get_processor_name");
  host_name_.assign(name.data(), static_cast<std::size_t>(length));
}

MpiEnvironment::~MpiEnvironment() {
  if (std::uncaught_exceptions() == exceptions_) MPI_Finalize();
}

bool MpiEnvironment::one_host(RankGroup group) const {
  const auto begin = hosts_.begin() + group.first;
  return std::all_of(begin, begin + group.size, [&](int host) { return host == *begin; });
}

std::string MpiEnvironment::broadcast(std::string bytes) const {
  std::uint64_t size = bytes.size();
  check_mpi(MPI_Bcast(&size, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD), "MPI_Bcast");
  bytes.resize(size);
  check_mpi(MPI_Bcast(bytes.data(), static_cast<int>(size), MPI_BYTE, 0, MPI_COMM_WORLD),
            "MPI_Bcast");
  return bytes;
}

void MpiEnvironment::gather_on_host(std::span<const std::byte> mine,
                                    std::span<std::byte> all) const {
  const HostRanks host(rank_);
  const int count = static_cast<int>(mine.size());
  check_mpi(MPI_Allgather(mine.data(), count, MPI_BYTE, all.data(), count, MPI_BYTE, host.handle()),
            "MPI_Allgather");
}

void MpiEnvironment::wait_for_all() const { check_mpi(MPI_Barrier(MPI_COMM_WORLD), "MPI_Barrier"); }

void MpiEnvironment::abort(int code) const {
  aborting_.lock();  // for ever: from a second thread MPI_Abort returns while the first is in it
  MPI_Abort(MPI_COMM_WORLD, code);
  std::abort();  // MPI_Abort is not declared to end this process, but it has
}

}  // namespace lockstep::comm

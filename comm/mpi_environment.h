// MPI's life in this process.
#pragma once

#include <cstddef>
#include <mutex>
#include <span>
#include <string>
#include <vector>

namespace lockstep::comm {

// Ranks [first, first + size) of the replica.
struct RankGroup {
  int first = 0;
  int size = 0;
};

// MPI_Init_thread to MPI_Finalize. One per process; every other use of MPI must end before it goes.
//
// A communicator is never repaired: when anything fails, the process ends and takes the job with
// it. When the destructor runs because of an exception it therefore does not wait for the other
// ranks in MPI_Finalize; the launcher sees a rank that exits without it and ends the job.
class MpiEnvironment {
 public:
  // Throws Error when MPI cannot start or offers less than MPI_THREAD_SERIALIZED.
  MpiEnvironment();
  ~MpiEnvironment();
  MpiEnvironment(const MpiEnvironment&) = delete;
  MpiEnvironment& operator=(const MpiEnvironment&) = delete;

  int rank() const { return rank_; }
  int size() const { return size_; }
  // Among the ranks of this host.
  int local_rank() const { return local_rank_; }
  int local_size() const { return local_size_; }
  bool one_host() const { return local_size_ == size_; }
  // Whether all of `group` are on one host, this one or another.
  bool one_host(RankGroup group) const;
  RankGroup everyone() const { return {0, size_}; }
  const std::string& host_name() const { return host_name_; }

  // Rank 0's bytes, on every rank; the others' argument is ignored. Collective, blocking and
  // without a deadline: for start-up.
  std::string broadcast(std::string bytes) const;

  // Concatenates the bytes of the ranks of this host, in the order of their local ranks. All bring
  // equally many; all.size() is local_size() times as many. As broadcast() otherwise.
  void gather_on_host(std::span<const std::byte> mine, std::span<std::byte> all) const;

  // Returns when all ranks have called it. As broadcast() otherwise.
  void wait_for_all() const;

  // Ends all ranks of the job. Callable from any thread; the first one's code counts.
  [[noreturn]] void abort(int code) const;

 private:
  mutable std::mutex aborting_;
  int exceptions_ = 0;  // under way when this object was made
  int rank_ = 0;
  int size_ = 0;
  int local_rank_ = 0;
  int local_size_ = 0;
  std::vector<int> hosts_;  // of each rank: the lowest rank on its host
  std::string host_name_;
};

}  // namespace lockstep::comm

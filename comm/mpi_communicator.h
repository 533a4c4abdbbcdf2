// Ranks as MPI processes on any hosts.
#pragma once

#include <memory>

#include "comm/checked_communicator.h"
#include "comm/mpi_environment.h"

namespace lockstep::comm {

// Point-to-point messages between all pairs, polled until the deadline: MPI's own collectives
// would block for ever when a rank is gone.
//
// After CollectiveTimeout MPI may still read from the buffers of the failed call while it makes
// progress. End the process, by MpiEnvironment::abort or an exception that reaches main.
class MpiCommunicator final : public CheckedCommunicator {
 public:
  // Joins the ranks of `group`, this one among them. Collective over all ranks of `environment`,
  // which must outlive it: each is in one group. Throws Error.
  MpiCommunicator(const MpiEnvironment& environment, RankGroup group,
                  std::chrono::milliseconds deadline);
  // All ranks.
  MpiCommunicator(const MpiEnvironment& environment, std::chrono::milliseconds deadline)
      : MpiCommunicator(environment, environment.everyone(), deadline) {}
  ~MpiCommunicator() override;

  std::string_view name() const override { return "mpi"; }

 private:
  class Group;     // an MPI communicator of our own
  class Requests;  // the messages of one operation

  void gather(std::span<const std::byte> mine, std::span<std::byte> all,
              std::span<const std::size_t> counts, const Operation& operation) override;
  void exchange(std::span<const std::byte> send, std::span<const std::size_t> send_counts,
                std::span<std::byte> received, std::span<const std::size_t> receive_counts,
                const Operation& operation) override;
  // Polls until all messages are through. Throws CollectiveTimeout or Error.
  void complete(Requests& requests, const Operation& operation) const;

  std::unique_ptr<Group> group_;
};

}  // namespace lockstep::comm

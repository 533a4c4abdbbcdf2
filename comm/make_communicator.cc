#include "comm/make_communicator.h"

#include "comm/mpi_communicator.h"
#include "comm/random_token.h"
#include "comm/shared_memory_communicator.h"

namespace lockstep::comm {

std::unique_ptr<Communicator> make_communicator(const MpiEnvironment& environment, RankGroup group,
                                                Transport transport,
                                                std::chrono::milliseconds deadline) {
  // Groups may differ in what they can have: all ranks make what needs all of them.
  const std::string name = environment.broadcast("/lockstep-" + random_token());
  auto mpi = transport == Transport::shared_memory
                 ? nullptr
                 : std::make_unique<MpiCommunicator>(environment, group, deadline);
  if (transport == Transport::mpi) return mpi;
  if (environment.one_host(group)) {
    return std::make_unique<SharedMemoryCommunicator>(
        name + "-" + std::to_string(group.first), environment.rank() - group.first, group.size,
        deadline, SharedMemoryCommunicator::kDefaultSlotBytes, group.first);
  }
  if (transport == Transport::automatic) return mpi;
  throw Error("shared memory needs ranks " + std::to_string(group.first) + " to " +
              std::to_string(group.first + group.size - 1) + " on one host, and they are not");
}

std::unique_ptr<Communicator> make_communicator(const MpiEnvironment& environment,
                                                Transport transport,
                                                std::chrono::milliseconds deadline) {
  return make_communicator(environment, environment.everyone(), transport, deadline);
}

}  // namespace lockstep::comm

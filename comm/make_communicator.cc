#include "comm/make_communicator.h"

#include "comm/mpi_communicator.h"
#include "comm/random_token.h"
#include "comm/shared_memory_communicator.h"

namespace lockstep::comm {

std::unique_ptr<Communicator> make_communicator(const MpiEnvironment& environment,
                                                Transport transport,
                                                std::chrono::milliseconds deadline) {
  if (transport == Transport::automatic) {
    transport = environment.one_host() ? Transport::shared_memory : Transport::mpi;
  }
  if (transport == Transport::mpi) return std::make_unique<MpiCommunicator>(environment, deadline);
  if (!environment.one_host()) {
    throw Error("shared memory needs all " + std::to_string(environment.size()) +
                " ranks on one host; " + environment.host_name() + " has " +
                std::to_string(environment.local_size()));
  }
  const std::string name = environment.broadcast("/lockstep-" + random_token());
  return std::make_unique<SharedMemoryCommunicator>(name, environment.rank(), environment.size(),
                                                    deadline);
}

}  // namespace lockstep::comm

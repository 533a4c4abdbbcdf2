// Run by mpiexec, see CMakeLists.txt: communicator_mpi_test collectives RANKS | missing | mismatch
// | exception
#include <cstdio>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "comm/make_communicator.h"
#include "comm/mpi_communicator.h"
#include "tests/comm/communicator_suite.h"

namespace lockstep::comm {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kAmple{60000};

// Both transports, behind the interface that the product uses.
void check_both_transports(const MpiEnvironment& environment, int ranks_expected) {
  expect(environment.size() == ranks_expected, "number of ranks");
  expect(environment.rank() < environment.size(), "rank");
  expect(environment.local_size() == environment.size(), "all ranks of this test are on one host");
  expect(environment.local_rank() == environment.rank(), "local rank");
  expect(environment.broadcast(environment.rank() == 0 ? std::string("a\0b", 3) : "other") ==
             std::string("a\0b", 3),
         "broadcast");
  const std::vector<int> mine{environment.rank(), 7};
  std::vector<int> all(2 * static_cast<std::size_t>(ranks_expected));
  environment.gather_on_host(std::as_bytes(std::span(mine)),
                             std::as_writable_bytes(std::span(all)));
  for (std::size_t rank = 0; rank < all.size() / 2; ++rank) {
    expect(all[2 * rank] == static_cast<int>(rank) && all[2 * rank + 1] == 7, "gather on host");
  }
  for (const Transport transport : {Transport::automatic, Transport::mpi}) {
    const auto ranks = make_communicator(environment, transport, kAmple);
    expect(ranks->name() == (transport == Transport::mpi ? "mpi" : "shared memory"), "name");
    expect(ranks->size() == environment.size(), "size");
    check_collectives(*ranks);
    check_many_small_operations(*ranks);
    check_gather_in_place(*ranks);
    ranks->barrier("end");
  }
}

void miss_a_rank(const MpiEnvironment& environment) {
  MpiCommunicator ranks(environment, milliseconds(500));
  ranks.barrier("layer 0 attention");
  if (environment.rank() == 1) std::this_thread::sleep_for(std::chrono::seconds(300));
  try {
    ranks.barrier("layer 0 mlp");
  } catch (const CollectiveTimeout& timeout) {
    expect(timeout.missing_ranks() == std::vector<int>{1}, "missing ranks");
    std::printf("missing rank named: %s\n", timeout.what());
    std::fflush(stdout);
    std::this_thread::sleep_for(milliseconds(200));  // until mpiexec has passed it on
    environment.abort(3);
  }
}

void bring_another_size(const MpiEnvironment& environment) {
  MpiCommunicator ranks(environment, milliseconds(2000));
  const std::size_t count = environment.rank() == 0 ? 6 : 4;
  std::vector<std::byte> mine(count), all(2 * count);
  try {
    ranks.all_gather(mine, all, std::vector<std::size_t>{count, count}, "gather");
  } catch (const Error& error) {
    if (environment.rank() != 0) std::this_thread::sleep_for(std::chrono::seconds(300));
    std::printf("mismatch named: %s\n", error.what());
    std::fflush(stdout);
    std::this_thread::sleep_for(milliseconds(200));
    environment.abort(3);
  }
}

void fail_in_one_rank(const MpiEnvironment& environment) {
  MpiCommunicator ranks(environment, kAmple);
  ranks.barrier("start");
  if (environment.rank() == 1) throw Error("rank 1 fails");
  std::this_thread::sleep_for(std::chrono::seconds(300));
}

int run(const std::vector<std::string>& arguments) try {
  const MpiEnvironment environment;
  const std::string& mode = arguments.at(1);
  if (mode == "collectives") {
    check_both_transports(environment, std::stoi(arguments.at(2)));
  } else if (mode == "missing") {
    miss_a_rank(environment);
  } else if (mode == "mismatch") {
    bring_another_size(environment);
  } else if (mode == "exception") {
    fail_in_one_rank(environment);
  } else {
    throw Error("unknown mode " + mode);
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}

}  // namespace
}  // namespace lockstep::comm

int main(int argc, char** argv) { return lockstep::comm::run({argv, argv + argc}); }

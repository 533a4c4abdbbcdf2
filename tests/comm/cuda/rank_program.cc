#include "tests/comm/cuda/rank_program.h"

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <thread>

#include "comm/communicator.h"
#include "comm/cuda/nccl_communicator.h"
#include "comm/cuda/window_allocator.h"
#include "comm/mpi_environment.h"
#include "kernels/cuda/device_buffer.h"
#include "kernels/cuda/graph.h"
#include "kernels/cuda/visible_devices.h"
#include "tests/comm/communicator_suite.h"
#include "tests/comm/cuda/peer_scenarios.h"

namespace lockstep::comm::cuda {
namespace {

using kernels::cuda::Device;
using kernels::cuda::DeviceBuffer;
using kernels::cuda::DevicePool;
using kernels::cuda::Graph;
using kernels::cuda::Stream;
using std::chrono::milliseconds;
using Bytes = std::vector<std::byte>;
using Counts = std::vector<std::size_t>;

constexpr int kEveryone = 99;
// One rank: its end of the communicator, and what it computes with.
struct Rank {
  Rank(const Place& place, const NcclOptions& options)
      : device(kernels::cuda::find_devices(), place.rank, place.rank % place.devices,
               std::min(place.ranks, place.devices)),
        pool(device),
        stream(device),
        communicator(place.mpi != nullptr
                         ? std::make_unique<NcclCommunicator>(*place.mpi, device, options)
                         : std::make_unique<NcclCommunicator>(place.id, place.rank, place.ranks,
                                                              device, options)) {}
  Device device;
  DevicePool pool;
  Stream stream;
  std::unique_ptr<NcclCommunicator> communicator;

  int rank() const { return communicator->rank(); }
  int ranks() const { return communicator->size(); }

  DeviceBuffer<std::byte> upload(const Bytes& bytes) {
    DeviceBuffer<std::byte> buffer(pool, "test", bytes.size());
    buffer.upload(bytes, stream);
    stream.synchronize();
    return buffer;
  }
  Bytes download(const DeviceBuffer<std::byte>& buffer) {
    Bytes bytes(buffer.size());
    buffer.download(bytes, stream);
    communicator->wait(stream, "download");
    return bytes;
  }
};

// Rank r brings `size` + r * `more` bytes, and where `more` is not 0, rank 1 none at all.
Counts gather_counts(int ranks, std::size_t size, std::size_t more) {
  Counts counts;
  for (int r = 0; r < ranks; ++r) {
    counts.push_back(r == 1 && more > 0 ? 0 : size + static_cast<std::size_t>(r) * more);
  }
  return counts;
}

void check_gather(Rank& rank, std::size_t size, std::size_t more, std::size_t round) {
  const Counts counts = gather_counts(rank.ranks(), size, more);
  Bytes mine, expected;
  append_pattern(mine, rank.rank(), kEveryone, round, counts[rank.rank()]);
  for (int r = 0; r < rank.ranks(); ++r) append_pattern(expected, r, kEveryone, round, counts[r]);
  const DeviceBuffer<std::byte> from = rank.upload(mine);
  const DeviceBuffer<std::byte> all = rank.upload(Bytes(expected.size()));
  rank.communicator->all_gather(from.data(), all.data(), counts, rank.stream, "gather");
  expect(rank.download(all) == expected, "all_gather of " + std::to_string(size));
}

void check_gather_in_place(Rank& rank, std::size_t more) {
  const Counts counts = gather_counts(rank.ranks(), 1000, more);
  Bytes before, expected;
  std::size_t own = 0;
  for (int r = 0; r < rank.ranks(); ++r) {
    if (r == rank.rank()) own = expected.size();
    append_pattern(expected, r, kEveryone, 0, counts[r]);
  }
  before.resize(expected.size());
  std::copy_n(expected.begin() + own, counts[rank.rank()], before.begin() + own);
  const DeviceBuffer<std::byte> all = rank.upload(before);
  rank.communicator->all_gather(all.data() + own, all.data(), counts, rank.stream, "in place");
  expect(rank.download(all) == expected, "all_gather in place");
}

// Rank s sends r `size` + s * 3 + r bytes, and nothing at all to the next rank.
void check_exchange(Rank& rank, std::size_t size, std::size_t round) {
  const auto count = [&](int from, int to) {
    return rank.ranks() > 1 && to == (from + 1) % rank.ranks() ? 0 : size + from * 3 + to;
  };
  Counts send_counts, receive_counts;
  Bytes send, expected;
  for (int r = 0; r < rank.ranks(); ++r) {
    send_counts.push_back(count(rank.rank(), r));
    append_pattern(send, rank.rank(), r, round, send_counts.back());
    receive_counts.push_back(count(r, rank.rank()));
    append_pattern(expected, r, rank.rank(), round, receive_counts.back());
  }
  const DeviceBuffer<std::byte> from = rank.upload(send);
  const DeviceBuffer<std::byte> to = rank.upload(Bytes(expected.size()));
  rank.communicator->all_to_all(from.data(), send_counts, to.data(), receive_counts, rank.stream,
                                "exchange");
  expect(rank.download(to) == expected, "all_to_all of " + std::to_string(size));
}

void collectives(const Place& place) {
  Rank rank(place, {.deadline = kAmple});
  std::size_t round = 0;
  for (int repeat = 0; repeat < 2; ++repeat) {
    for (const std::size_t size : kSizes) {
      check_gather(rank, size, 0, ++round);
      check_gather(rank, size, 1, ++round);
      check_exchange(rank, size, ++round);
    }
    check_gather_in_place(rank, 0);
    check_gather_in_place(rank, 13);
  }
}

// A graph with a gather and an exchange, launched again and again on other bytes.
void graph(const Place& place) {
  Rank rank(place, {.deadline = kAmple});
  constexpr std::size_t kBytes = 4096;
  const Counts counts(static_cast<std::size_t>(rank.ranks()), kBytes);
  DeviceBuffer<std::byte> mine(rank.pool, "test", kBytes);
  const DeviceBuffer<std::byte> all(rank.pool, "test", kBytes * counts.size());
  const DeviceBuffer<std::byte> turned(rank.pool, "test", kBytes * counts.size());
  const Graph graph = Graph::capture(rank.stream, [&] {
    rank.communicator->all_gather(mine.data(), all.data(), counts, rank.stream, "gather");
    rank.communicator->all_to_all(all.data(), counts, turned.data(), counts, rank.stream,
                                  "exchange");
  });
  for (std::size_t round = 0; round < 20; ++round) {
    Bytes bytes, expected;
    append_pattern(bytes, rank.rank(), kEveryone, round, kBytes);
    mine.upload(bytes, rank.stream);
    graph.launch(rank.stream);
    // Everyone has the same `all`, and sends each rank that rank's own bytes.
    for (int r = 0; r < rank.ranks(); ++r) {
      append_pattern(expected, rank.rank(), kEveryone, round, kBytes);
    }
    expect(rank.download(turned) == expected, "round " + std::to_string(round));
  }
}

// Small gathers between symmetric windows, where NCCL makes them.
void windows(const Place& place) {
  Rank rank(place, {.deadline = kAmple});
  WindowAllocator allocator(*rank.communicator, rank.device);
  constexpr std::size_t kBytes = 4096;
  const Counts counts(static_cast<std::size_t>(rank.ranks()), kBytes);
  const auto mine = rank.pool.allocate_from(allocator, "windows", kBytes);
  const auto all = rank.pool.allocate_from(allocator, "windows", kBytes * counts.size());
  expect(allocator.asked() == 2, "windows asked for");
  expect(allocator.made() == 0 || allocator.made() == 2, "windows made");
  expect(rank.pool.ledger().used("windows") == kBytes * (1 + counts.size()), "ledger");
  for (std::size_t round = 0; round < 20; ++round) {
    Bytes bytes, expected, received(all.size());
    append_pattern(bytes, rank.rank(), kEveryone, round, kBytes);
    for (int r = 0; r < rank.ranks(); ++r) append_pattern(expected, r, kEveryone, round, kBytes);
    kernels::cuda::copy_to_device(mine.data(), bytes, rank.stream, "bytes");
    rank.communicator->all_gather(mine.data(), all.data(), counts, rank.stream, "gather");
    kernels::cuda::copy_to_host(received, all.data(), rank.stream, "bytes");
    rank.communicator->wait(rank.stream, "gather");
    expect(received == expected, "round " + std::to_string(round));
  }
}

// Rank 1 does not come to make a window; the others must say so.
void missing_window(const Place& place) {
  Rank rank(place, {.deadline = kShort});
  check_gather(rank, 100, 0, 1);
  if (rank.rank() == 1) {
    std::this_thread::sleep_for(3 * kShort);
    std::_Exit(0);
  }
  WindowAllocator allocator(*rank.communicator, rank.device);
  try {
    const auto window = rank.pool.allocate_from(allocator, "windows", 4096);
    // Where NCCL makes none, no rank is waited for.
    expect(allocator.made() == 0, "the window was made without rank 1");
  } catch (const CollectiveTimeout& timeout) {
    expect(std::string(timeout.what()).find("'making a window'") != std::string::npos,
           timeout.what());
  }
  std::_Exit(0);  // rank 1 takes no leave
}

// Rank 1 does not come to the second gather; the others must say so within the deadline.
void missing(const Place& place) {
  Rank rank(place, {.deadline = kShort});
  check_gather(rank, 100, 0, 1);
  if (rank.rank() == 1) {
    std::this_thread::sleep_for(3 * kShort);
    std::_Exit(0);  // without taking leave of the others, which have aborted
  }
  const Counts counts(static_cast<std::size_t>(rank.ranks()), 100);
  const DeviceBuffer<std::byte> all = rank.upload(Bytes(100 * counts.size()));
  const std::byte* const mine = all.data() + 100 * rank.rank();
  const auto begin = std::chrono::steady_clock::now();
  try {
    rank.communicator->all_gather(mine, all.data(), counts, rank.stream, "layer 12 mlp");
    rank.communicator->wait(rank.stream, "layer 12 mlp");
    expect(false, "the gather came through without rank 1");
  } catch (const CollectiveTimeout& timeout) {
    const std::string text = timeout.what();
    expect(text.find("rank 0") != std::string::npos, "the rank is not named: " + text);
    expect(text.find("'layer 12 mlp'") != std::string::npos, "nor what it did: " + text);
  }
  expect(std::chrono::steady_clock::now() - begin < 2 * kShort, "it took too long");
  try {
    rank.communicator->wait(rank.stream, "after");
    expect(false, "an aborted communicator was used");
  } catch (const Error&) {
  }
}

// Rank 1 is not even there when the others start.
void absent(const Place& place) {
  if (place.rank == 1) return;
  try {
    Rank rank(place, {.deadline = kShort, .start = kShort});
    expect(false, "it started without rank 1");
  } catch (const CollectiveTimeout& timeout) {
    expect(std::string(timeout.what()).find("'start'") != std::string::npos, timeout.what());
  }
}

// A world of one has nobody to talk to, and the same answers.
void alone(const Place& place) {
  Rank rank(place, {.deadline = kAmple});
  check_gather(rank, 1000, 0, 1);
  check_exchange(rank, 1000, 2);
  check_gather_in_place(rank, 0);
}

// A deadline is for silence: it begins anew when the work has gone on.
void goes_on(const Place& place) {
  constexpr milliseconds kDeadline{300};
  Rank rank(place, {.deadline = kDeadline});
  const auto takes = [](milliseconds time) {
    const auto end = std::chrono::steady_clock::now() + time;
    return [end] { return std::chrono::steady_clock::now() >= end; };
  };
  rank.communicator->wait_until(takes(2 * kDeadline), "long work", [] { return true; });
  try {
    rank.communicator->wait_until(takes(2 * kDeadline), "silent work");
    expect(false, "it waited beyond its deadline");
  } catch (const CollectiveTimeout& timeout) {
    const std::string text = timeout.what();
    expect(text.find("'silent work'") != std::string::npos, "it does not say for what: " + text);
  }
}

std::string read_id(const std::filesystem::path& file) {
  const auto deadline = std::chrono::steady_clock::now() + kAmple;
  while (!std::filesystem::exists(file)) {
    if (std::chrono::steady_clock::now() > deadline) throw Error("rank 0 left no id");
    std::this_thread::sleep_for(milliseconds(5));
  }
  std::ifstream in(file, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

void write_id(const std::filesystem::path& file, const std::string& id) {
  const std::string temporary = file.string() + ".new";
  std::ofstream(temporary, std::ios::binary) << id;
  std::filesystem::rename(temporary, file);
}

// NCCL refuses two ranks on one GPU of one host; as ranks of different hosts they talk over the
// loopback network.
void pretend_to_be_a_host(const Place& place) {
  if (place.devices >= place.ranks) return;
  setenv("NCCL_HOSTID", ("lockstep-test-" + std::to_string(place.rank)).c_str(), 1);
  setenv("NCCL_SOCKET_IFNAME", "lo", 1);
  setenv("NCCL_IB_DISABLE", "1", 1);
}

int run(const std::vector<std::string>& arguments, int devices) {
  using Scenario = void (*)(const Place&);
  const std::map<std::string, Scenario> scenarios{{"collectives", collectives},
                                                  {"graph", graph},
                                                  {"windows", windows},
                                                  {"missing_window", missing_window},
                                                  {"missing", missing},
                                                  {"absent", absent},
                                                  {"alone", alone},
                                                  {"goes_on", goes_on},
                                                  {"peers", peers},
                                                  {"ipc", ipc},
                                                  {"peer_missing", peer_missing}};
  const Scenario scenario = scenarios.at(arguments.at(0));
  if (arguments.at(1) == "mpi") {
    const MpiEnvironment mpi;
    const Place place{
        .rank = mpi.rank(), .ranks = mpi.size(), .devices = devices, .id = "", .mpi = &mpi};
    pretend_to_be_a_host(place);
    scenario(place);
    return 0;
  }
  Place place{.rank = std::stoi(arguments.at(1)),
              .ranks = std::stoi(arguments.at(2)),
              .devices = devices,
              .id = ""};
  pretend_to_be_a_host(place);
  const std::filesystem::path file = arguments.at(3);
  place.name = file.parent_path().filename().string();
  if (place.rank == 0) write_id(file, NcclCommunicator::make_id());
  place.id = read_id(file);
  scenario(place);
  return 0;
}

}  // namespace

int run_rank(const std::vector<std::string>& arguments) try {
  const auto found = kernels::cuda::find_devices();
  if (found.devices.empty()) {
    std::printf("[  SKIPPED ] no CUDA device: %s\n", found.failure.c_str());
    return 77;
  }
  return run(arguments, static_cast<int>(found.devices.size()));
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}

}  // namespace lockstep::comm::cuda

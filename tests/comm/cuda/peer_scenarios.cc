#include "tests/comm/cuda/peer_scenarios.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <thread>
#include <vector>

#include "comm/cuda/ipc_memory.h"
#include "comm/cuda/nccl_communicator.h"
#include "comm/cuda/nccl_exchange.h"
#include "comm/shared_memory_communicator.h"
#include "kernels/cuda/stream_gpu.h"
#include "kernels/cuda/visible_devices.h"
#include "shard/gpu/lane_reduce.h"
#include "tests/comm/communicator_suite.h"

namespace lockstep::comm::cuda {
namespace {

using kernels::cuda::Device;
using kernels::cuda::DevicePool;
using std::chrono::milliseconds;

// Ranks that sum by kernels in each other's memory. They share a GPU, as processes, which it serves
// by turns.
struct PeerWorldRank {
  PeerWorldRank(const Place& place, milliseconds deadline)
      : device(kernels::cuda::find_devices(), place.rank, place.rank % place.devices,
               std::min(place.ranks, place.devices)),
        gpu(device),
        ranks("/" + place.name, place.rank, place.ranks, kAmple),
        communicator(place.id, place.rank, place.ranks, device, {.deadline = deadline}),
        exchange(communicator, gpu.stream(),
                 {.ranks = ranks,
                  .pool = gpu.memory(),
                  .patience = deadline * 3 / 4,
                  .first_rank = 0,
                  .path = AllReduce::peer,
                  .windows = nullptr}),
        reducer(gpu, exchange, {shard::one_segment_each(place.ranks)}, {kRows, kColumns}),
        hidden(shard::upload_array<float>(gpu, "hidden", std::vector<float>(kRows * kColumns))) {}

  static constexpr std::int64_t kRows = 4, kColumns = 1024;

  // hidden += the sum over ranks of (1 + rank) * 2^-turn: by kernels, without rounding.
  void turn(int turn, int rank) {
    const auto staged = gpu.pinned_memory().allocate("segments", kRows * kColumns * sizeof(float));
    std::fill_n(static_cast<float*>(staged.data()), kRows * kColumns,
                static_cast<float>(1 + rank) * std::exp2f(static_cast<float>(-turn)));
    gpu.upload(reducer.segments(0, kRows), {static_cast<std::byte*>(staged.data()), staged.size()},
               "segments");
    add();
    exchange.wait("a turn", [this] {
      reducer.check();
      return false;
    });
  }
  void add() {
    const shard::LaneSum sum = reducer.reduce(0, kRows, "layer 12 mlp");
    gpu.run(kernels::cuda::PeerNormArgs{{.hidden = hidden.data(),
                                         .update = {},
                                         .weight = nullptr,
                                         .out = nullptr,
                                         .row_indices = nullptr,
                                         .rows = kRows,
                                         .columns = kColumns,
                                         .eps = 1.0f},
                                        sum.peers.value()});
  }

  Device device;
  kernels::cuda::StreamGpu gpu;
  SharedMemoryCommunicator ranks;
  NcclCommunicator communicator;
  NcclExchange exchange;
  shard::GpuLaneReducer reducer;
  shard::GpuArray<float> hidden;
};

}  // namespace

void peers(const Place& place) {
  PeerWorldRank rank(place, kAmple);
  constexpr int kTurns = 12;
  for (int turn = 0; turn < kTurns; ++turn) rank.turn(turn, place.rank);
  const auto staged = rank.gpu.pinned_memory().allocate(
      "hidden", static_cast<std::size_t>(rank.hidden.size()) * sizeof(float));
  rank.gpu.download({static_cast<std::byte*>(staged.data()), staged.size()}, rank.hidden.data(),
                    "hidden");
  rank.gpu.synchronize("hidden");
  float expected = 0;
  for (int turn = 0; turn < kTurns; ++turn) {
    for (int r = 0; r < place.ranks; ++r) {
      expected += static_cast<float>(1 + r) * std::exp2f(static_cast<float>(-turn));
    }
  }
  const auto* values = static_cast<const float*>(staged.data());
  expect(std::all_of(values, values + rank.hidden.size(),
                     [expected](float value) { return value == expected; }),
         "the sums of all turns");
}

void peer_missing(const Place& place) {
  PeerWorldRank rank(place, kShort);
  rank.turn(0, place.rank);
  if (place.rank == 1) {
    std::this_thread::sleep_for(kShort);  // longer than the other's kernel waits
    std::_Exit(0);
  }
  try {
    rank.turn(1, place.rank);
    expect(false, "the sum came through without rank 1");
  } catch (const CollectiveTimeout& timeout) {
    const std::string text = timeout.what();
    expect(text.find("rank 1 did not come to 'layer 12 mlp'") != std::string::npos, text);
    expect(timeout.missing_ranks() == std::vector<int>{1}, "the missing rank");
  }
  std::_Exit(0);  // without taking leave of rank 1
}

void ipc(const Place& place) {
  const Device device(kernels::cuda::find_devices(), place.rank, place.rank % place.devices,
                      std::min(place.ranks, place.devices));
  DevicePool pool(device);
  SharedMemoryCommunicator ranks("/" + place.name, place.rank, place.ranks, kAmple);
  const std::string obstacle = IpcMemory::obstacle(ranks, 0, pool);
  expect(obstacle.empty(), obstacle);
  constexpr std::size_t kBytes = 100000;
  const IpcMemory memory(ranks, 0, pool, "peers", kBytes * static_cast<std::size_t>(place.ranks));
  expect(pool.ledger().used("peers") == whole_peer_memory(kBytes * memory.of_ranks().size()),
         "ledger");
  const auto at = [](int rank) { return kBytes * static_cast<std::size_t>(rank); };
  std::vector<unsigned char> bytes(kBytes * static_cast<std::size_t>(place.ranks));
  const auto read_own = [&] {
    expect(cudaMemcpy(bytes.data(), memory.of_ranks()[place.rank], bytes.size(),
                      cudaMemcpyDefault) == cudaSuccess,
           "cudaMemcpy");
  };
  read_own();
  expect(std::all_of(bytes.begin(), bytes.end(), [](auto byte) { return byte == 0; }), "zeros");
  ranks.barrier("zeros");
  for (std::byte* other : memory.of_ranks()) {
    expect(cudaMemset(other + at(place.rank), place.rank + 1, kBytes) == cudaSuccess, "cudaMemset");
  }
  device.synchronize();
  ranks.barrier("written");
  read_own();
  for (int rank = 0; rank < place.ranks; ++rank) {
    const auto first = bytes.begin() + static_cast<std::ptrdiff_t>(at(rank));
    expect(std::all_of(first, first + kBytes, [rank](auto byte) { return byte == rank + 1; }),
           "what rank " + std::to_string(rank) + " wrote");
  }
  ranks.barrier("read");
}

}  // namespace lockstep::comm::cuda

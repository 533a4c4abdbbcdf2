// Whether the ranks of one host fit into its memory together, before any of them has loaded.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "launch/host_memory.h"
#include "shard/rank_memory.h"

namespace lockstep::launch {

// What a rank tells the others of its host; plain bytes.
struct RankRoom {
  std::size_t weights = 0;
  std::size_t activations = 0;
  std::size_t kv_block = 0;
  std::size_t host_available = 0;
  std::size_t group_available = 0;
  std::uint64_t group = 0;  // tells control groups apart; 0: none has a limit
};

// What ranks share is counted with one of the host's ranks: where `first` is true.
RankRoom room_of(const shard::RankMemory& rank, bool first, const HostMemory& memory);

// The limit that leaves the fewest blocks: the host's memory, for all its ranks, or a control
// group's for the ranks in it.
struct HostRoom {
  int ranks = 0;
  std::size_t weights = 0;  // the sums over those ranks
  std::size_t activations = 0;
  std::size_t kv_block = 0;
  std::size_t available = 0;
  bool of_group = false;

  // Blocks for which each of the ranks has room; negative where not even weights and activations
  // do.
  std::int64_t blocks() const;
};
HostRoom tightest_room(std::span<const RankRoom> ranks);

// "3.2 GiB for 2 ranks: weights 3.0 GiB, ..., of which 1.1 GiB are available": the numbers of a
// refusal. `blocks`: of one sequence of max_model_len.
std::string needs_text(const HostRoom& room, std::int64_t blocks, std::int32_t max_model_len);

// What would fit where `world` ranks do not: shorter sequences, a rank on each of several hosts
// with as much memory, narrower weights; "more memory" where none of them does.
std::string remedies_text(const shard::ModelShape& shape, const HostRoom& room, int world,
                          const shard::StepSizes& sizes);

}  // namespace lockstep::launch

#include "launch/host_room.h"

#include <spdlog/fmt/fmt.h>

#include <algorithm>
#include <vector>

#include "base/hash.h"
#include "launch/bytes_text.h"
#include "launch/model_shape.h"
#include "shard/memory_plan.h"

namespace lockstep::launch {
namespace {

void add(HostRoom& room, const RankRoom& rank) {
  ++room.ranks;
  room.weights += rank.weights;
  room.activations += rank.activations;
  room.kv_block += rank.kv_block;
}

}  // namespace

RankRoom room_of(const shard::RankMemory& rank, bool first, const HostMemory& memory) {
  RankRoom room{.weights = rank.weights,
                .activations = rank.activations + (first ? rank.shared : 0),
                .kv_block = rank.kv_block,
                .host_available = memory.host,
                .group_available = memory.group};
  if (!memory.group_file.empty())
    room.group = Hash64().add(std::as_bytes(std::span(memory.group_file))).value();
  return room;
}

std::int64_t HostRoom::blocks() const {
  const auto left =
      static_cast<std::int64_t>(available) - static_cast<std::int64_t>(weights + activations);
  return left < 0 ? -1 : left / static_cast<std::int64_t>(kv_block);
}

HostRoom tightest_room(std::span<const RankRoom> ranks) {
  HostRoom tightest{.available = ranks.front().host_available};
  for (const RankRoom& rank : ranks) {
    add(tightest, rank);
    tightest.available = std::min(tightest.available, rank.host_available);
  }
  for (const RankRoom& first : ranks) {
    if (first.group == 0) continue;
    HostRoom room{.available = first.group_available, .of_group = true};
    for (const RankRoom& rank : ranks) {
      if (rank.group != first.group) continue;
      add(room, rank);
      room.available = std::min(room.available, rank.group_available);
    }
    if (room.blocks() < tightest.blocks()) tightest = room;
  }
  return tightest;
}

std::string needs_text(const HostRoom& room, std::int64_t blocks, std::int32_t max_model_len) {
  const std::size_t sequence = static_cast<std::size_t>(blocks) * room.kv_block;
  return fmt::format(
      "weights take {}, activations {} and the KV cache of one sequence of max_model_len {} takes "
      "{} on its {} ranks: {} in all, and {} are available",
      bytes_text(room.weights), bytes_text(room.activations), max_model_len, bytes_text(sequence),
      room.ranks, bytes_text(room.weights + room.activations + sequence),
      bytes_text(room.available));
}

std::string remedies_text(const shard::ModelShape& shape, const HostRoom& room, int world,
                          const shard::StepSizes& sizes) {
  std::vector<std::string> remedies;
  if (const std::int64_t blocks = room.blocks(); blocks > 0) {
    remedies.push_back(fmt::format("--max-model-len {}", blocks * sizes.block_size));
  }
  shard::StepSizes apart = sizes;
  apart.shared_sums = false;
  const shard::MemoryLimits host{.memory = room.available};
  const auto hosts = shard::smallest_split(
      shape, 2, 1, [&](int) { return host; }, apart);
  if (hosts) {
    remedies.push_back(fmt::format("{} hosts with as much memory, a rank on each", *hosts));
  }
  const shard::MemoryLimits share{.memory = room.available / static_cast<std::size_t>(room.ranks)};
  const auto plan = shard::plan_memory(shape, world, 1, share, sizes);
  if (const auto weights = shard::narrower_weights(shape, plan, sizes)) {
    remedies.push_back("weights in " + name(*weights));
  }
  return remedies.empty() ? "more memory" : fmt::format("{}", fmt::join(remedies, ", or "));
}

}  // namespace lockstep::launch

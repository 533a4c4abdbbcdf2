#include "launch/replica_sizes.h"

#include <algorithm>
#include <fstream>
#include <vector>

#include "base/error.h"
#include "shard/kv_cache.h"

namespace lockstep::launch {
namespace {

std::size_t available_memory() {
  std::ifstream file("/proc/meminfo");
  std::string key, unit;
  std::size_t kib;
  while (file >> key >> kib) {
    if (key == "MemAvailable:") return kib * 1024;
    std::getline(file, unit);
  }
  throw Error("/proc/meminfo: no MemAvailable");
}

std::int32_t settle_model_len(std::int32_t asked, std::int64_t limit) {
  if (asked > limit) {
    throw Error("max_model_len is " + std::to_string(asked) + ": the model was made for " +
                std::to_string(limit) + " positions");
  }
  return asked > 0 ? asked : static_cast<std::int32_t>(limit);
}

// The smallest of all ranks' values.
std::int64_t smallest(comm::Communicator& communicator, std::int64_t mine) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(communicator.size()));
  const std::vector<std::size_t> counts(all.size(), sizeof mine);
  communicator.all_gather(std::as_bytes(std::span(&mine, 1)),
                          std::as_writable_bytes(std::span(all)), counts,
                          "settling the cache size");
  return *std::ranges::min_element(all);
}

}  // namespace

ReplicaSizes settle_sizes(const ServeOptions& options, const model::ModelConfig& config,
                          const shard::Partition& part, const comm::MpiEnvironment& mpi,
                          comm::Communicator& communicator) {
  ReplicaSizes sizes;
  sizes.max_model_len = settle_model_len(options.max_model_len, config.max_position_embeddings);
  const auto block_bytes =
      shard::KvCache::block_bytes(config, part, options.kv_cache_dtype, options.block_size);
  const std::size_t memory =
      options.kv_cache_memory > 0
          ? options.kv_cache_memory
          : available_memory() / 4 / static_cast<std::size_t>(mpi.local_size());
  const std::int64_t per_sequence =
      (sizes.max_model_len + options.block_size - 1) / options.block_size;
  // More than every sequence at its longest is of no use.
  const std::int64_t useful = per_sequence * options.max_num_seqs;
  const std::int64_t blocks =
      smallest(communicator, std::min(useful, static_cast<std::int64_t>(memory / block_bytes)));
  if (blocks < per_sequence) {
    throw Error("kv_cache_memory holds " + std::to_string(blocks) + " blocks of " +
                std::to_string(options.block_size) +
                " positions on the smallest rank: one sequence of max_model_len " +
                std::to_string(sizes.max_model_len) + " needs " + std::to_string(per_sequence) +
                "; give more memory or a smaller --max-model-len");
  }
  sizes.num_blocks = static_cast<std::int32_t>(blocks);
  return sizes;
}

}  // namespace lockstep::launch

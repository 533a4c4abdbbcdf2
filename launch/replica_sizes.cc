#include "launch/replica_sizes.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <vector>

#include "base/error.h"
#include "launch/bytes_text.h"
#include "launch/host_memory.h"
#include "launch/host_room.h"
#include "launch/model_shape.h"
#include "shard/rank_memory.h"

namespace lockstep::launch {

kernels::KvFormat cpu_kv_format(KvCacheType type) {
  if (type == KvCacheType::fp8) {
    throw Error("--kv-cache-dtype fp8 is for GPUs: on CPUs there are bf16 and int8");
  }
  return type == KvCacheType::int8 ? kernels::KvFormat::int8 : kernels::KvFormat::bf16;
}

std::int32_t batched_tokens(const ServeOptions& options, Device device) {
  return options.max_num_batched_tokens.value_or(device == Device::cpu ? kCpuBatchedTokens
                                                                       : kGpuBatchedTokens);
}

std::string batched_tokens_text() {
  return std::to_string(kCpuBatchedTokens) + " on CPUs, " + std::to_string(kGpuBatchedTokens) +
         " on GPUs";
}

std::string short_step(const ServeOptions& options, Device device) {
  const std::int32_t tokens = batched_tokens(options, device);
  if (tokens >= options.max_num_seqs) return "";
  return std::to_string(tokens) + " is below --max-num-seqs " +
         std::to_string(options.max_num_seqs) + ": a step holds a token of every sequence";
}

std::int32_t settle_batched_tokens(const ServeOptions& options, Device device) {
  const std::string wrong = short_step(options, device);
  if (!wrong.empty()) throw Error("--max-num-batched-tokens: " + wrong);
  return batched_tokens(options, device);
}

std::int32_t speculative_tokens(const ServeOptions& options, Device device) {
  if (options.num_speculative_tokens) return *options.num_speculative_tokens;
  if (device == Device::cuda) return 0;
  return std::min(batched_tokens(options, device) - 1, kCpuSpeculativeTokens);
}

std::int32_t cpu_logits(const ServeOptions& options) {
  return std::max(options.max_num_seqs, 1 + speculative_tokens(options, Device::cpu));
}

std::string too_many_drafts(const ServeOptions& options, Device device) {
  const std::int32_t tokens = speculative_tokens(options, device);
  const std::int32_t batched = batched_tokens(options, device);
  if (tokens > 0 && device == Device::cuda) {
    return std::to_string(tokens) + " is for CPUs: on GPUs a step draws one token of a sequence";
  }
  if (tokens < batched) return "";
  return std::to_string(tokens) + " is not below --max-num-batched-tokens " +
         std::to_string(batched) + ": a step holds a token and what is guessed behind it";
}

std::int32_t settle_speculative_tokens(const ServeOptions& options, Device device) {
  const std::string wrong = too_many_drafts(options, device);
  if (!wrong.empty()) throw Error("--num-speculative-tokens: " + wrong);
  return speculative_tokens(options, device);
}

std::int32_t settle_model_len(std::int32_t asked, const model::ModelConfig& config) {
  const std::int64_t limit = config.max_position_embeddings;
  if (asked > limit) {
    throw Error("max_model_len is " + std::to_string(asked) + ": the model was made for " +
                std::to_string(limit) + " positions");
  }
  const auto length = asked > 0 ? asked : static_cast<std::int32_t>(limit);
  if (length < 2) {
    throw Error("max_model_len is " + std::to_string(length) +
                ": a prompt and its answer have a token each");
  }
  return length;
}

std::int64_t smallest(comm::Communicator& communicator, std::int64_t mine) {
  std::vector<std::int64_t> all(static_cast<std::size_t>(communicator.size()));
  const std::vector<std::size_t> counts(all.size(), sizeof mine);
  communicator.all_gather(std::as_bytes(std::span(&mine, 1)),
                          std::as_writable_bytes(std::span(all)), counts,
                          "settling the cache size");
  return *std::ranges::min_element(all);
}

namespace {

shard::StepSizes step_sizes(const ServeOptions& options, const RankPlace& place,
                            const comm::MpiEnvironment& mpi, const ReplicaSizes& sizes,
                            std::int64_t threads) {
  return {
      .kv_format = cpu_kv_format(options.kv_cache_dtype),
      .block_size = options.block_size,
      .max_batch_tokens = sizes.max_batched_tokens,
      .max_logits = cpu_logits(options),
      .max_positions = sizes.max_model_len,
      .threads = threads,
      .shared_sums = mpi.one_host(place.stage_ranks) && options.transport != comm::Transport::mpi};
}

std::vector<RankRoom> gather_rooms(const RankRoom& mine, const comm::MpiEnvironment& mpi) {
  std::vector<RankRoom> all(static_cast<std::size_t>(mpi.local_size()));
  mpi.gather_on_host(std::as_bytes(std::span(&mine, 1)), std::as_writable_bytes(std::span(all)));
  return all;
}

}  // namespace

ReplicaSizes settle_sizes(const ServeOptions& options, const model::Model& model,
                          const RankPlace& place, const comm::MpiEnvironment& mpi,
                          comm::Communicator& communicator, std::int64_t threads) {
  ReplicaSizes sizes{.max_batched_tokens = settle_batched_tokens(options, Device::cpu),
                     .max_model_len = settle_model_len(options.max_model_len, model.config),
                     .num_speculative_tokens = settle_speculative_tokens(options, Device::cpu)};
  const shard::ModelShape shape = shape_of(model);
  const shard::StepSizes steps = step_sizes(options, place, mpi, sizes, threads);
  const auto needs = shard::rank_memory(shape, shard::Device::cpu, place.stage_ranks.size,
                                        place.stage.count, steps);
  const shard::RankMemory& mine = needs[static_cast<std::size_t>(mpi.rank())];
  const HostMemory memory = read_host_memory();
  const auto rooms = gather_rooms(room_of(mine, mpi.local_rank() == 0, memory), mpi);
  const HostRoom room = tightest_room(rooms);

  const std::int64_t per_sequence =
      (sizes.max_model_len + options.block_size - 1) / options.block_size;
  if (room.blocks() < per_sequence) {
    throw Error(
        "the model does not fit into the memory of " + mpi.host_name() + ": " +
        needs_text(room, per_sequence, sizes.max_model_len) + " (" +
        (room.of_group ? "the limit of its control group" : "MemAvailable in /proc/meminfo") +
        "). What would fit: " + remedies_text(shape, room, place.stage_ranks.size, steps) +
        ". `lockstep plan` tells more");
  }
  // More than every sequence at its longest is of no use.
  const std::int64_t useful = per_sequence * options.max_num_seqs;
  std::int64_t mine_holds = 0;
  if (options.kv_cache_memory > 0) {
    mine_holds = static_cast<std::int64_t>(options.kv_cache_memory / mine.kv_block);
    if (std::min(useful, mine_holds) > room.blocks()) {
      throw Error(
          "kv_cache_memory is " + bytes_text(options.kv_cache_memory) + " a rank, of which " +
          bytes_text(static_cast<std::size_t>(std::min(useful, mine_holds)) * mine.kv_block) +
          " would be used: beside weights and activations, " + mpi.host_name() + " has room for " +
          bytes_text(static_cast<std::size_t>(room.blocks()) * mine.kv_block) +
          " a rank; give less, or a smaller --max-num-seqs or --max-model-len");
    }
  } else {
    // A quarter of what is free, but room for one sequence, and no more than there is.
    const std::size_t quarter = memory.available() / 4 / static_cast<std::size_t>(mpi.local_size());
    mine_holds =
        std::clamp(static_cast<std::int64_t>(quarter / mine.kv_block), per_sequence, room.blocks());
  }
  const std::int64_t blocks = smallest(communicator, std::min(useful, mine_holds));
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

#include "launch/gpu_shard.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <thread>

#include "base/error.h"
#include "launch/bytes_text.h"

namespace lockstep::launch {
namespace {

kernels::cuda::CacheFormat cache_format(const ServeOptions& options) {
  return options.kv_cache_dtype == KvCacheType::fp8 ? kernels::cuda::CacheFormat::e4m3
                                                    : kernels::cuda::CacheFormat::bf16;
}

// The same on every rank; one of them says why. Throws Error as choose_attention() does.
kernels::cuda::AttentionBackend settle_attention(const ServeOptions& options,
                                                 const model::ModelConfig& config,
                                                 comm::cuda::GpuRank& rank, bool says_why) {
  const int ranks = rank.exchange().size();
  const kernels::cuda::AttentionChoice choice = kernels::cuda::choose_attention(
      kernels::cuda::attention_backend_of(options.attention_backend),
      {.head_dim = static_cast<std::int32_t>(config.head_dim),
       .key_value_heads = static_cast<std::int32_t>(config.num_key_value_heads),
       .model_group =
           static_cast<std::int32_t>(config.num_attention_heads / config.num_key_value_heads),
       .format = cache_format(options),
       .group = shard::common_group(config, ranks),
       .flashinfer_built_in = rank.gpu().has_flashinfer(),
       .fa3_there = rank.gpu().has_fa3(),
       .biases = config.attention_bias});
  if (says_why) spdlog::info("{}", choice.reason);
  return choice.backend;
}

shard::GpuChoiceOptions choice_options(const ServeOptions& options) {
  return {.max_sequences = options.max_num_seqs};
}

shard::GpuRunnerOptions runner_options(const ServeOptions& options, const ReplicaSizes& sizes,
                                       kernels::cuda::AttentionBackend attention, int ranks,
                                       bool chooses) {
  return {.kv_format = cache_format(options),
          .block_size = options.block_size,
          .max_batch_tokens = sizes.max_batched_tokens,
          .max_sequences = options.max_num_seqs,
          .max_positions = sizes.max_model_len,
          .attention = attention,
          .weights_ahead = std::int64_t{options.weights_ahead_mib} << 20,
          .warpgroups = options.products == "warpgroups",
          .product_algorithms =
              options.weight_cache.empty() ? "" : options.weight_cache + "/matmul-algorithms",
          .sampling_bytes =
              chooses ? shard::GpuTokenChoice::upload_bytes(choice_options(options), ranks) : 0};
}

// "layers 16 to 31 of 32": what this rank's numbers are of. "" where there is one stage.
std::string layers_text(const model::ModelConfig& config, const shard::Partition& part) {
  if (part.layers.size() == config.num_hidden_layers) return "";
  return "layers " + std::to_string(part.layers.begin) + " to " +
         std::to_string(part.layers.end - 1) + " of " + std::to_string(config.num_hidden_layers);
}

// How many ranks of this host share this rank's device.
std::size_t ranks_on_device(const std::string& device_id, const comm::MpiEnvironment& mpi) {
  using Id = std::array<char, 64>;
  Id mine{};
  std::memcpy(mine.data(), device_id.data(), std::min(device_id.size(), mine.size() - 1));
  std::vector<Id> all(static_cast<std::size_t>(mpi.local_size()));
  mpi.gather_on_host(std::as_bytes(std::span(mine)), std::as_writable_bytes(std::span(all)));
  return static_cast<std::size_t>(std::ranges::count(all, mine));
}

// This rank's share of the host's cores.
int loading_threads(const comm::MpiEnvironment& mpi) {
  return std::max(1, static_cast<int>(std::thread::hardware_concurrency()) / mpi.local_size());
}

shard::GpuWeights load_weights(const ServeOptions& options, const model::Model& model,
                               const shard::Partition& part, const comm::MpiEnvironment& mpi,
                               comm::cuda::GpuRank& rank) {
  const auto begin = std::chrono::steady_clock::now();
  shard::GpuWeights weights = shard::load_gpu_weights(model, part, rank.gpu(),
                                                      {.fp8 = options.quantization == "fp8",
                                                       .plain = options.products == "cublaslt",
                                                       .threads = loading_threads(mpi)});
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  const std::string layers = layers_text(model.config, part);
  spdlog::info("{}: {} of weights{} in {:.2f} s; {} between ranks", rank.device(),
               bytes_text(weights.bytes()), layers.empty() ? "" : " of " + layers, seconds.count(),
               rank.exchange().name());
  // Ranks load at their own pace; what comes now is collective, with deadlines.
  mpi.wait_for_all();
  return weights;
}

}  // namespace

GpuShard::GpuShard(const ServeOptions& options, const model::Model& model,
                   const comm::MpiEnvironment& mpi, comm::Communicator& world,
                   comm::Communicator& stage, const shard::PipelinePlace& place,
                   shard::StepTimes& times)
    : rank_(comm::cuda::open_gpu_rank(mpi, stage,
                                      {.deadline = options.deadline * 3 / 4,
                                       .all_reduce = comm::all_reduce_of(options.all_reduce),
                                       .windows = options.nccl_windows})),
      parts_(shard::partition_model(model.config, stage.size(),
                                    shard::stage_layers(model.config, place))),
      sizes_{.max_batched_tokens = settle_batched_tokens(options, Device::cuda),
             .max_model_len = settle_model_len(options.max_model_len, model.config),
             .num_speculative_tokens = settle_speculative_tokens(options, Device::cuda)},
      attention_(settle_attention(options, model.config, *rank_, world.rank() == 0)),
      runner_(model.config, load_weights(options, model, part(), mpi, *rank_),
              runner_options(options, sizes_, attention_, stage.size(), place.next == nullptr),
              rank_->gpu(), rank_->exchange(), place),
      sampler_(stage, runner_.vocab_range(), runner_.vocab_ranges()),
      choice_(runner_, choice_options(options), rank_->gpu(), rank_->exchange(), sampler_),
      steps_(runner_, choice_, times) {
  if (stage.rank() == 0) spdlog::info("{}: {}", rank_->device(), rank_->all_reduce().reason);
  if (stage.rank() == 0 && options.nccl_windows) {
    const comm::WindowCount windows = rank_->windows();
    spdlog::log(windows.all_made() ? spdlog::level::info : spdlog::level::warn, "{}: {}",
                rank_->device(), windows.text());
  }
  sizes_.num_blocks = settle_blocks(options, model, mpi, world);
  runner_.allocate_cache(sizes_.num_blocks);
  spdlog::info("{}: {} KV blocks of {} positions; memory:\n{}", rank_->device(), sizes_.num_blocks,
               options.block_size, rank_->gpu().memory().ledger().table());
}

std::int32_t GpuShard::settle_blocks(const ServeOptions& options, const model::Model& model,
                                     const comm::MpiEnvironment& mpi, comm::Communicator& world) {
  const std::size_t block =
      shard::gpu_kv_block_bytes(model.config, part(), cache_format(options), options.block_size);
  // All look at once, when each has its buffers.
  mpi.wait_for_all();
  const auto room = rank_->gpu().memory().room();
  const std::size_t sharing = ranks_on_device(rank_->device_id(), mpi);
  const double in_use = static_cast<double>(room.total - room.free);
  const double usable =
      (static_cast<double>(room.total) * options.gpu_memory_utilization - in_use) /
      static_cast<double>(sharing);
  const double wanted = options.kv_cache_memory > 0 ? static_cast<double>(options.kv_cache_memory)
                                                    : std::max(usable, 0.0);
  const std::int64_t per_sequence =
      (sizes_.max_model_len + options.block_size - 1) / options.block_size;
  // One block is for padding (llama.h). More than every sequence at its longest is of no use.
  const auto holds = static_cast<std::int64_t>(wanted / static_cast<double>(block)) - 1;
  const std::int64_t blocks = smallest(world, std::min(holds, per_sequence * options.max_num_seqs));
  if (blocks < per_sequence) {
    const std::string layers = layers_text(model.config, part());
    throw Error("the KV cache has room for " + std::to_string(std::max<std::int64_t>(blocks, 0)) +
                " blocks of " + std::to_string(options.block_size) +
                " positions on the smallest rank: one sequence of max_model_len " +
                std::to_string(sizes_.max_model_len) + " needs " + std::to_string(per_sequence) +
                " (" + bytes_text(static_cast<std::size_t>(per_sequence + 1) * block) +
                (layers.empty() ? "" : " for " + layers) + "). " + rank_->device() + " has " +
                bytes_text(room.free) + " of " + bytes_text(room.total) +
                " left: give a smaller --max-model-len, a larger --gpu-memory-utilization, or more "
                "ranks. In use by this rank:\n" +
                rank_->gpu().memory().ledger().table());
  }
  return static_cast<std::int32_t>(blocks);
}

}  // namespace lockstep::launch

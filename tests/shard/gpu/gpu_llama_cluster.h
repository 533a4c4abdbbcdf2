// Runs work on clusters of executors in the place of GPUs.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

#include "shard/gpu/llama.h"
#include "tests/shard/gpu/executed_exchange.h"
#include "tests/shard/gpu/gpu_llama_case.h"
#include "tests/shard/llama_cluster.h"

namespace lockstep::shard {

struct GpuCluster {
  int stages = 1, ranks = 1;
  bool peers = false;
  bool plain = false;
  kernels::cuda::Doing doing = kernels::cuda::Doing::at_once;
};

// The rows that are compared, in order.
inline std::vector<LogitRow> logits_of(const model::Model& model, const GpuRunnerOptions& options,
                                       const GpuCluster& cluster, const Work& work) {
  const std::optional<std::chrono::nanoseconds> patience =
      cluster.peers ? std::optional(std::chrono::seconds(120)) : std::nullopt;
  RowsOfRanks rows(cluster.ranks);
  spawn_stages(
      model.config, cluster.stages, cluster.ranks,
      [&](comm::Communicator& communicator, const PipelinePlace& place) {
        const auto rank = static_cast<std::size_t>(communicator.rank());
        kernels::cuda::ExecutedGpu gpu(kernels::cuda::Runs::once, cluster.doing);
        ExecutedExchange exchange(gpu, communicator, patience);
        const Partition part = partition_model(model.config, cluster.ranks, place.layers)[rank];
        GpuLlamaRunner runner(
            model.config,
            load_gpu_weights(model, part, gpu, {.plain = cluster.plain, .staging_bytes = 1 << 20}),
            options, gpu, exchange, place);
        runner.allocate_cache(work.num_blocks);
        for (const auto& step : work.steps) {
          rows.add(communicator.rank(), runner.forward(work.batch(step)), runner.vocab_range());
        }
        communicator.barrier("the last step");
      });
  return rows.compared(work);
}

}  // namespace lockstep::shard

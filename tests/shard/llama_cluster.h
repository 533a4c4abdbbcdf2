// Runs work on clusters of CPUs.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "kernels/cpu_family.h"
#include "shard/llama.h"
#include "tests/shard/llama_case.h"
#include "tests/shard/not_shared.h"
#include "tests/shard/random_work.h"
#include "tests/shard/staged_ranks.h"

namespace lockstep::shard {

// The bits of logits of the whole vocabulary.
using LogitRow = std::vector<std::uint32_t>;

struct Cluster {
  int stages = 1, ranks = 1, threads = 1;
  bool shares_memory = true;
  const kernels::cpu::KernelTable& kernels;
};

// The rows of all steps, in order.
inline std::vector<LogitRow> logits_of(const model::Model& model, const RunnerOptions& options,
                                       const Cluster& cluster, const Work& work) {
  std::vector<std::vector<LogitRow>> of_ranks(static_cast<std::size_t>(cluster.ranks));
  spawn_stages(
      model.config, cluster.stages, cluster.ranks,
      [&](comm::Communicator& sharing, const PipelinePlace& place) {
        NotShared apart(sharing);
        comm::Communicator& communicator = cluster.shares_memory ? sharing : apart;
        kernels::ThreadPool pool({.size = cluster.threads, .spin = false});
        StepTimes times(communicator, nullptr, place.previous);
        LlamaRunner runner(model, options, communicator, pool, cluster.kernels, times, place);
        for (const auto& step : work.steps) {
          const auto logits = runner.forward(work.batch(step));
          const VocabRange vocabulary = runner.vocab_range();
          const auto range = static_cast<std::size_t>(vocabulary.end - vocabulary.begin);
          for (std::size_t at = 0; at < logits.size(); at += range) {
            LogitRow row;
            for (const float x : logits.subspan(at, range)) {
              row.push_back(std::bit_cast<std::uint32_t>(x));
            }
            of_ranks[static_cast<std::size_t>(communicator.rank())].push_back(std::move(row));
          }
        }
      });
  std::vector<LogitRow> rows = std::move(of_ranks[0]);
  for (std::size_t rank = 1; rank < of_ranks.size(); ++rank) {
    for (std::size_t row = 0; row < rows.size(); ++row) {
      const LogitRow& more = of_ranks[rank][row];
      rows[row].insert(rows[row].end(), more.begin(), more.end());
    }
  }
  return rows;
}

inline RunnerOptions options_for(const LlamaCase& c, const Work& work) {
  return {.kv_format = c.kv_format,
          .block_size = c.work.block_size,
          .num_blocks = work.num_blocks,
          .max_batch_tokens = work.most_rows(),
          .max_sequences = 8,
          .max_positions = work.longest(),
          .activations = c.activations ? ActivationChoice(*c.activations) : ActivationChoice()};
}

}  // namespace lockstep::shard

// Runs work on clusters of CPUs.
#pragma once

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <span>
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

// The rows of logits of the ranks that share a vocabulary.
class RowsOfRanks {
 public:
  explicit RowsOfRanks(int ranks) : of_ranks_(static_cast<std::size_t>(ranks)) {}

  // Rows of rank `rank`, which has these columns; each rank calls it by itself.
  void add(int rank, std::span<const float> logits, VocabRange columns) {
    const auto range = static_cast<std::size_t>(columns.end - columns.begin);
    for (std::size_t at = 0; at < logits.size(); at += range) {
      LogitRow& row = of_ranks_[static_cast<std::size_t>(rank)].emplace_back();
      for (const float x : logits.subspan(at, range))
        row.push_back(std::bit_cast<std::uint32_t>(x));
    }
  }
  // Whole rows.
  std::vector<LogitRow> all() const {
    std::vector<LogitRow> rows;
    for (std::size_t i = 0; i < of_ranks_[0].size(); ++i) rows.push_back(joined(i));
    return rows;
  }
  // Those of the pieces of `work` that are compared.
  std::vector<LogitRow> compared(const Work& work) const {
    std::vector<LogitRow> rows;
    std::size_t i = 0;
    for (const Piece& piece : work.wanted()) {
      if (piece.is_compared) rows.push_back(joined(i));
      ++i;
    }
    return rows;
  }

 private:
  LogitRow joined(std::size_t i) const {
    LogitRow row;
    for (const auto& rows : of_ranks_) {
      row.insert(row.end(), rows.at(i).begin(), rows.at(i).end());
    }
    return row;
  }

  std::vector<std::vector<LogitRow>> of_ranks_;
};

// That the rows of `work` have the bits that are expected, and these are numbers.
inline void expect_same_rows(const std::vector<LogitRow>& rows,
                             const std::vector<LogitRow>& expected, const Work& work) {
  const auto compared = work.compared();
  ASSERT_EQ(rows.size(), compared.size());
  ASSERT_EQ(expected.size(), compared.size());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    EXPECT_TRUE(rows[i] == expected[i])
        << "token " << compared[i].end - 1 << " of sequence " << compared[i].sequence;
    for (const std::uint32_t bits : expected[i]) {
      ASSERT_TRUE(std::isfinite(std::bit_cast<float>(bits)));
    }
  }
}

struct Cluster {
  int stages = 1, ranks = 1, threads = 1;
  bool shares_memory = true;
  const kernels::cpu::KernelTable& kernels;
};

// The rows that are compared, in order.
inline std::vector<LogitRow> logits_of(const model::Model& model, const RunnerOptions& options,
                                       const Cluster& cluster, const Work& work) {
  RowsOfRanks rows(cluster.ranks);
  spawn_stages(
      model.config, cluster.stages, cluster.ranks,
      [&](comm::Communicator& sharing, const PipelinePlace& place) {
        NotShared apart(sharing);
        comm::Communicator& communicator = cluster.shares_memory ? sharing : apart;
        kernels::ThreadPool pool({.size = cluster.threads, .spin = false});
        StepTimes times(communicator, nullptr, place.previous);
        LlamaRunner runner(model, options, communicator, pool, cluster.kernels, times, place);
        for (const auto& step : work.steps) {
          rows.add(communicator.rank(), runner.forward(work.batch(step)), runner.vocab_range());
        }
      });
  return rows.compared(work);
}

inline RunnerOptions options_for(const LlamaCase& c, const Work& work) {
  return {.kv_format = c.kv_format,
          .block_size = c.work.block_size,
          .num_blocks = work.num_blocks,
          .max_batch_tokens = work.most_rows(),
          .max_logits = 8,
          .max_positions = work.longest(),
          .activations = c.activations ? ActivationChoice(*c.activations) : ActivationChoice()};
}

}  // namespace lockstep::shard

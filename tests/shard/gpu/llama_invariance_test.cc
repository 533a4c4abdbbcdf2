// The bits of logits are a sequence's own, on GPUs as on CPUs (../llama_invariance_test.cc): random
// models on random executors with random work against one rank that computes each sequence whole
// and alone, and records nothing.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <map>
#include <vector>

#include "kernels/cuda/attention.h"
#include "tests/shard/gpu/gpu_llama_cluster.h"
#include "tests/shard/pairwise.h"

namespace lockstep::shard {
namespace {

using kernels::cuda::AttentionBackend;

constexpr std::uint32_t kSeeds = 3000;  // of cases to choose from
constexpr double kMostCost = 2000;      // of one of them
constexpr int kManyBlocks = 4 * 132;    // shard/gpu/llama.cc: chunks of keys have no blocks

// How the own attention takes the step of most rows.
enum class Chunks { none, one_by_one_for_many_blocks, one_by_one_without_room, apart };
Chunks chunks_of(const GpuLlamaCase& c, const Work& work) {
  using namespace kernels::cuda;
  if (c.attention != AttentionBackend::own || work.longest() <= kChunkPositions) {
    return Chunks::none;
  }
  const Partition part = partition_model(c.config, c.ranks)[0];
  const int rows = work.most_rows();
  if (rows * std::ssize(head_runs(first_queries(c.config, part))) >= kManyBlocks) {
    return Chunks::one_by_one_for_many_blocks;
  }
  return rows > 2 * std::min(c.max_sequences, rows) ? Chunks::one_by_one_without_room
                                                    : Chunks::apart;
}

// Sequences in steps that are alike three times, so that the last is a recording's.
bool replays(const GpuLlamaCase& c, const Work& work) {
  std::map<std::size_t, int> alike;
  for (const auto& step : work.steps) {
    const bool decodes = std::ranges::all_of(step, [](const Piece& piece) {
      return piece.wants_logits && piece.end - piece.begin == 1;
    });
    if (decodes) ++alike[step.size()];
  }
  return c.recordings > 0 &&
         std::ranges::any_of(alike, [](const auto& sizes) { return sizes.second > 2; });
}

std::vector<int> properties(const GpuLlamaCase& c, const Work& work) {
  const model::ModelConfig& m = c.config;
  const std::int64_t kv = m.num_key_value_heads;
  const int split = c.ranks == 1 ? 0 : c.ranks > kv ? 1 : kv % c.ranks == 0 ? 2 : 3;
  return {split,
          static_cast<int>(m.num_attention_heads / kv) > kernels::cuda::kRunHeads,
          m.tie_word_embeddings,
          m.attention_bias,
          m.head_norms,
          static_cast<int>(c.kv_format),
          static_cast<int>(c.attention),
          static_cast<int>(chunks_of(c, work)),
          c.plain,
          c.stages,
          c.ranks > 1 && c.peers,
          c.ranks > 1 && c.slices,
          c.warpgroups,
          c.late,
          replays(c, work),
          work.longest() > kernels::cuda::kChunkPositions,
          static_cast<int>(c.work.cuts),
          static_cast<int>(c.work.company),
          c.work.block_size};
}

// Roughly, in milliseconds.
double cost(const GpuLlamaCase& c, const Work& work) {
  const auto layers = static_cast<double>(c.config.num_hidden_layers);
  const auto heads = static_cast<double>(c.config.num_attention_heads * c.config.head_dim) / 1e6 *
                     (c.attention == AttentionBackend::own ? 100 : 20);
  const auto of = [&](const Work& some) {
    double sum = 0;
    for (const auto& step : some.steps) {
      sum += 30;
      for (const Piece& piece : step) {
        const double rows = piece.end - piece.begin;
        sum += layers * rows * (1 + heads * piece.end);
      }
    }
    return sum;
  };
  return 50 + (0.5 + 0.5 * c.ranks) * of(work) + of(work.one_by_one());
}

// Every two properties that meet in any case that does not cost too much meet in one of them.
std::vector<GpuLlamaCase> cases() {
  std::vector<GpuLlamaCase> all;
  std::vector<std::vector<int>> of_all;
  std::vector<double> costs;
  for (std::uint32_t seed = 0; seed < kSeeds; ++seed) {
    const GpuLlamaCase c = make_gpu_case(seed);
    const Work work = make_work(c);
    if (cost(c, work) > kMostCost) continue;
    all.push_back(c);
    of_all.push_back(properties(c, work));
    costs.push_back(cost(c, work));
  }
  std::vector<GpuLlamaCase> chosen;
  for (const std::size_t i : pairwise(of_all, costs)) chosen.push_back(all[i]);
  return chosen;
}

GpuRunnerOptions options_for(const GpuLlamaCase& c, const Work& work) {
  return {.kv_format = c.kv_format,
          .block_size = c.work.block_size,
          .max_batch_tokens = work.most_rows(),
          .max_sequences = 8,
          .max_positions = work.longest(),
          .attention = c.attention,
          .max_recordings = 0};
}

void expect_the_bits_of_one_rank(const GpuLlamaCase& c) {
  const Work work = make_work(c), alone = work.one_by_one();
  const model::Model model = make_model(c.config);
  const auto expected =
      logits_of(model, options_for(c, alone), GpuCluster{.plain = c.plain}, alone);
  GpuRunnerOptions options = options_for(c, work);
  options.max_sequences = c.max_sequences;
  options.warpgroups = c.warpgroups;
  options.max_recordings = c.recordings;
  if (c.slices) options.gather_below = 4096;
  const auto rows = logits_of(model, options,
                              GpuCluster{.stages = c.stages,
                                         .ranks = c.ranks,
                                         .peers = c.peers,
                                         .plain = c.plain,
                                         .doing = c.late ? kernels::cuda::Doing::when_asked
                                                         : kernels::cuda::Doing::at_once},
                              work);
  expect_same_rows(rows, expected, work);
}

TEST(GpuLlamaInvariance, HoldsWhateverPropertiesMeet) {
  const auto chosen = cases();
  EXPECT_GT(chosen.size(), 15u);
  for (const GpuLlamaCase& c : chosen) {
    SCOPED_TRACE(testing::Message() << c);
    try {
      expect_the_bits_of_one_rank(c);
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();  // with the case
    }
  }
}

}  // namespace
}  // namespace lockstep::shard

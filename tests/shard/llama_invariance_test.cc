// The bits of logits are a sequence's own: random models on random clusters with random work
// against one rank with one thread that computes each sequence whole and alone.
#include <gtest/gtest.h>

#include <cmath>
#include <exception>

#include "tests/shard/llama_cluster.h"
#include "tests/shard/pairwise.h"

namespace lockstep::shard {
namespace {

// Seeds of cases to choose from.
constexpr std::uint32_t kFirstSeed = 0, kSeeds = 1500;

int index_of_edge(int prompt) {
  int i = 0;
  while (prompt > kEdges[static_cast<std::size_t>(i)] + 1) ++i;
  return i;
}

std::vector<int> properties(const LlamaCase& c) {
  const model::ModelConfig& m = c.config;
  const auto heads = static_cast<int>(m.num_attention_heads);
  const auto groups = static_cast<int>(m.intermediate_size / kernels::kGroup);
  return {heads == 1 ? 0 : 1 + heads / 4,
          std::min(static_cast<int>(heads / m.num_key_value_heads), 5),
          static_cast<int>(m.head_dim), m.hidden_size == heads * m.head_dim,
          groups < heads ? 0 : 1 + (groups % heads == 0), static_cast<int>(m.num_hidden_layers),
          m.tie_word_embeddings, m.attention_bias, m.head_norms, static_cast<int>(c.outer),
          c.projections.size() > 1 ? 1000 : static_cast<int>(c.projections[0]),
          c.activations ? 1 + static_cast<int>(*c.activations) : 0, static_cast<int>(c.kv_format),
          c.has_unit ? 100 : static_cast<int>(c.family), c.stages, static_cast<int>(c.split()),
          c.threads, c.shares_memory, index_of_edge(c.work.prompt), c.work.decoding > 0,
          static_cast<int>(c.work.cuts), static_cast<int>(c.work.company), c.work.block_size,
          // Threads share long contexts chunk by chunk, also on ranks with a part of a group.
          c.work.prompt > 1000 ? 1 + (c.split() == Split::parts_of_groups) : 0};
}

// Roughly, in milliseconds.
double cost(const LlamaCase& c) {
  const model::ModelConfig& m = c.config;
  const double heads = static_cast<double>(m.num_attention_heads);
  const double attention = heads * static_cast<double>(m.head_dim);
  const double products = static_cast<double>(m.hidden_size) *
                          (3 * attention + 3 * static_cast<double>(m.intermediate_size));
  const double sums = static_cast<double>(m.num_hidden_layers) * c.work.prompt *
                      (products + attention * c.work.prompt);
  const double slowness = c.has_unit ? 100 : c.family == kernels::CpuFamily::scalar ? 10 : 1;
  return 10 + 2 * c.stages * c.ranks * c.threads + sums / 1e7 * (1 + slowness);
}

// Every two properties that suit each other meet in one of them.
std::vector<LlamaCase> cases() {
  std::vector<LlamaCase> all;
  std::vector<std::vector<int>> of_all;
  std::vector<double> costs;
  for (std::uint32_t seed = kFirstSeed; seed < kFirstSeed + kSeeds; ++seed) {
    const LlamaCase& added = all.emplace_back(make_case(seed));
    of_all.push_back(properties(added));
    costs.push_back(cost(added));
  }
  std::vector<LlamaCase> chosen;
  for (const std::size_t i : pairwise(of_all, costs)) chosen.push_back(all[i]);
  return chosen;
}

void expect_the_bits_of_one_rank(const LlamaCase& c) {
  const Work work = make_work(c), alone = work.one_by_one();
  const model::Model model = make_model(c);
  const auto& fastest = kernels::kernel_table(kernels::supported_families().back());
  const auto& unit = kernels::emulated_unit_table();
  const auto expected =
      logits_of(model, options_for(c, alone), {.kernels = c.has_unit ? unit : fastest}, alone);
  const auto rows = logits_of(model, options_for(c, work),
                              {.stages = c.stages,
                               .ranks = c.ranks,
                               .threads = c.threads,
                               .shares_memory = c.shares_memory,
                               .kernels = c.has_unit ? unit : kernels::kernel_table(c.family)},
                              work);
  expect_same_rows(rows, expected, work);
}

// Those of one stage, or of more.
void expect_the_bits_of_one_rank_everywhere(bool pipelines) {
  int count = 0;
  for (const LlamaCase& c : cases()) {
    if ((c.stages > 1) != pipelines) continue;
    SCOPED_TRACE(testing::Message() << c);
    try {
      expect_the_bits_of_one_rank(c);
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what();  // with the case
    }
    ++count;
  }
  EXPECT_GT(count, 20);
}

TEST(LlamaInvariance, HoldsWhateverPropertiesMeet) {
  expect_the_bits_of_one_rank_everywhere(false);
}

TEST(LlamaInvariance, HoldsInAPipelineWhateverPropertiesMeet) {
  expect_the_bits_of_one_rank_everywhere(true);
}

}  // namespace
}  // namespace lockstep::shard

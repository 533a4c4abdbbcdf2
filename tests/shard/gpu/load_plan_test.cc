#include "shard/gpu/load_plan.h"

#include <gtest/gtest.h>

#include <map>

namespace lockstep::shard {
namespace {

model::ModelConfig llama_70b() {
  model::ModelConfig config;
  config.family = "llama";
  config.hidden_size = 8192;
  config.intermediate_size = 28672;
  config.num_hidden_layers = 80;
  config.num_attention_heads = 64;
  config.num_key_value_heads = 8;
  config.head_dim = 128;
  config.vocab_size = 128256;
  config.max_position_embeddings = 131072;
  return config;
}

std::int64_t elements(const RankParts& parts) {
  std::int64_t sum = 0;
  for (const MatrixPart& part : parts.matrices()) sum += part.elements();
  return sum;
}

// By hand, for one of `ranks` equal parts: q and o 8192 x 8192, k and v 1024 x 8192, gate, up and
// down 28672 x 8192 in each of 80 layers; embedding and head 128256 x 8192. 70,552,387,584 in all:
// in bf16 131.4 GiB on one rank, 16.4 GiB on each of eight.
TEST(LoadPlan, OfA70BModelIsWhatOneWorksOutByHand) {
  const std::int64_t layer = 2 * 67'108'864 + 2 * 8'388'608 + 3 * 234'881'024;
  const std::int64_t all = 80 * layer + 2 * 1'050'673'152;
  EXPECT_EQ(all, 70'552'387'584);
  for (const int ranks : {1, 2, 4, 8}) {
    for (const Partition& part : partition_model(llama_70b(), ranks)) {
      const RankParts parts = rank_parts(llama_70b(), part);
      EXPECT_EQ(elements(parts), all / ranks) << ranks << " ranks";
      EXPECT_EQ(parts.layers.size(), 80u);
    }
  }
  // Sixteen ranks share a key-value head in pairs: k and v are there twice.
  for (const Partition& part : partition_model(llama_70b(), 16)) {
    EXPECT_EQ(elements(rank_parts(llama_70b(), part)), all / 16 + 80 * 2 * 8'388'608 / 16);
  }
}

// Rows times columns of every tensor, without gaps and without overlap.
TEST(LoadPlan, GivesEveryElementToOneRank) {
  for (const int ranks : {1, 2, 3, 4, 5, 8}) {
    struct Cover {
      std::int64_t next_row = 0, next_column = 0, elements = 0, size = 0;
    };
    std::map<std::string, Cover> covers;
    for (const Partition& part : partition_model(llama_70b(), ranks)) {
      for (const MatrixPart& matrix : rank_parts(llama_70b(), part).matrices()) {
        Cover& cover = covers[matrix.tensor];
        const bool cut_in_columns = matrix.columns.size() < matrix.in_features;
        if (ranks == 3 || ranks == 5) {
          // k and v of a shared head are on both of its ranks.
          if (matrix.tensor.find("k_proj") != std::string::npos ||
              matrix.tensor.find("v_proj") != std::string::npos) {
            continue;
          }
        }
        EXPECT_EQ(cut_in_columns ? matrix.columns.begin : matrix.rows.begin,
                  cut_in_columns ? cover.next_column : cover.next_row)
            << matrix.tensor << " of " << ranks;
        cover.next_row = matrix.rows.end;
        cover.next_column = matrix.columns.end;
        cover.elements += matrix.elements();
        cover.size = matrix.out_features * matrix.in_features;
      }
    }
    for (const auto& [name, cover] : covers) EXPECT_EQ(cover.elements, cover.size) << name;
  }
}

TEST(LoadPlan, GivesAStageItsLayersAndItsEnds) {
  const auto stages = pipeline_stages(llama_70b(), 4);
  std::int64_t sum = 0;
  for (const Range layers : stages) {
    const RankParts parts = rank_parts(llama_70b(), partition_model(llama_70b(), 1, layers)[0]);
    EXPECT_EQ(parts.embedding.has_value(), layers.begin == 0);
    EXPECT_EQ(parts.head.has_value(), layers.end == 80);
    EXPECT_EQ(parts.final_norm.has_value(), layers.end == 80);
    EXPECT_EQ(parts.layers.front().o.tensor,
              "model.layers." + std::to_string(layers.begin) + ".self_attn.o_proj.weight");
    sum += elements(parts);
  }
  EXPECT_EQ(sum, 70'552'387'584);
}

}  // namespace
}  // namespace lockstep::shard

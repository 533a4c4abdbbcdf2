#include "shard/partition.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace lockstep::shard {
namespace {

model::ModelConfig smollm2() {
  model::ModelConfig config;
  config.hidden_size = 576;
  config.intermediate_size = 1536;
  config.num_attention_heads = 9;
  config.num_key_value_heads = 3;
  config.head_dim = 64;
  config.vocab_size = 49152;
  return config;
}

TEST(Partition, CoversEveryHeadLaneAndTokenOnce) {
  auto config = smollm2();
  config.vocab_size = 49155;  // not a multiple of a row block
  for (int world = 1; world <= 9; ++world) {
    const auto parts = partition_model(config, world);
    Range previous_heads, previous_lanes, previous_tokens;
    for (const Partition& part : parts) {
      EXPECT_EQ(part.query_heads.begin, previous_heads.end);
      EXPECT_EQ(part.mlp_lanes.begin, previous_lanes.end);
      EXPECT_EQ(part.vocabulary.begin, previous_tokens.end);
      EXPECT_GT(part.query_heads.size(), 0);
      EXPECT_GT(part.mlp_lanes.size(), 0);
      EXPECT_LE(part.key_value_heads.begin, part.query_heads.begin / 3);
      EXPECT_GE(part.key_value_heads.end, (part.query_heads.end - 1) / 3 + 1);
      previous_heads = part.query_heads;
      previous_lanes = part.mlp_lanes;
      previous_tokens = part.vocabulary;
    }
    EXPECT_EQ(previous_heads.end, 9);
    EXPECT_EQ(previous_lanes.end, 9);
    EXPECT_EQ(previous_tokens.end, 49155);
  }
}

TEST(Partition, GivesTheRankWithFewerHeadsMoreOfTheMlp) {
  const auto parts = partition_model(smollm2(), 2);
  EXPECT_EQ(parts[0].key_value_heads, (Range{0, 1}));
  EXPECT_EQ(parts[1].key_value_heads, (Range{1, 3}));
  EXPECT_EQ(parts[0].mlp_lanes, (Range{0, 5}));
  EXPECT_EQ(parts[1].mlp_lanes, (Range{5, 9}));
}

std::vector<int> segments(const LaneTree& tree, const std::vector<Partition>& parts,
                          Range Partition::*lanes) {
  std::vector<int> counts;
  for (const Partition& part : parts) counts.push_back(tree.segments(part.*lanes));
  return counts;
}

// Tensor parallelism adds nothing to what is exchanged: one sum a rank.
TEST(Partition, LeavesARankOneSegmentWhereTreesAreCut) {
  using testing::Each;
  auto llama = smollm2();
  llama.num_attention_heads = 24;
  llama.num_key_value_heads = 8;
  llama.intermediate_size = 8192;
  const LaneTrees trees = lane_trees(llama);
  for (const int world : {1, 2, 4, 8}) {
    const auto parts = partition_model(llama, world);
    EXPECT_THAT(segments(trees.attention, parts, &Partition::query_heads), Each(1)) << world;
    EXPECT_THAT(segments(trees.mlp, parts, &Partition::mlp_lanes), Each(1)) << world;
  }
}

TEST(Partition, CutsTreesWhereTwoRanksPartAlthoughTheyPartUnevenly) {
  using testing::ElementsAre;
  const LaneTrees trees = lane_trees(smollm2());
  const auto two = partition_model(smollm2(), 2), three = partition_model(smollm2(), 3);
  EXPECT_THAT(segments(trees.attention, two, &Partition::query_heads), ElementsAre(1, 1));
  EXPECT_THAT(segments(trees.mlp, two, &Partition::mlp_lanes), ElementsAre(1, 1));
  EXPECT_THAT(segments(trees.attention, three, &Partition::query_heads), ElementsAre(1, 1, 1));
  EXPECT_THAT(segments(trees.mlp, three, &Partition::mlp_lanes), ElementsAre(1, 2, 1));
}

TEST(Partition, RefusesHeadsWhoseTreeIsTooDeepForTheKernels) {
  auto config = smollm2();
  config.num_attention_heads = 720;
  config.num_key_value_heads = 720;
  config.intermediate_size = 32 * 720;
  try {
    lane_trees(config);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("num_attention_heads is 720"));
  }
  for (const int heads : {32, 40, 64, 96, 128}) {
    config.num_attention_heads = config.num_key_value_heads = heads;
    EXPECT_LE(lane_trees(config).attention.deepest_stack(), kernels::kMaxSegments) << heads;
  }
}

TEST(Partition, RefusesRanksWithoutAPieceOfTheMlp) {
  auto config = smollm2();
  config.intermediate_size = 64;  // two groups of 32 for nine lanes
  try {
    partition_model(config, 9);
    FAIL();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("intermediate_size is 64"));
  }
  EXPECT_NO_THROW(partition_model(config, 1));
}

TEST(Partition, ReplicatesKeyValueHeadsWhenRanksOutnumberThem) {
  const auto parts = partition_model(smollm2(), 4);
  EXPECT_EQ(parts[0].query_heads, (Range{0, 2}));
  EXPECT_EQ(parts[0].key_value_heads, (Range{0, 1}));
  EXPECT_EQ(parts[1].query_heads, (Range{2, 4}));
  EXPECT_EQ(parts[1].key_value_heads, (Range{0, 2}));
}

TEST(Partition, CutsTheLayersInStagesThatReadEquallyMuch) {
  auto config = smollm2();
  config.num_hidden_layers = 30;
  EXPECT_EQ(pipeline_stages(config, 1), (std::vector<Range>{{0, 30}}));
  // A layer has 6,144 weights per hidden column (2 * 12 heads of 64 and 3 * 1,536), the head
  // 49,152, as much as eight layers: (30 + 8) / 2 = 19 each.
  EXPECT_EQ(pipeline_stages(config, 2), (std::vector<Range>{{0, 19}, {19, 30}}));
  // 38 / 3: the last has 4.67 layers beside the head, and the others 25 in all.
  EXPECT_EQ(pipeline_stages(config, 3), (std::vector<Range>{{0, 12}, {12, 25}, {25, 30}}));
  for (int stages = 1; stages <= 30; ++stages) {
    std::int32_t end = 0;
    for (const Range& layers : pipeline_stages(config, stages)) {
      EXPECT_EQ(layers.begin, end);
      EXPECT_GT(layers.size(), 0);
      end = layers.end;
    }
    EXPECT_EQ(end, 30) << stages << " stages";
  }
}

TEST(Partition, RefusesMoreStagesThanLayers) {
  auto config = smollm2();
  config.num_hidden_layers = 30;
  EXPECT_THAT([&] { pipeline_stages(config, 31); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("1 to 30 stages")));
}

TEST(Partition, RefusesMoreRanksThanQueryHeads) {
  EXPECT_THAT([] { partition_model(smollm2(), 10); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("1 to 9 ranks")));
}

TEST(Partition, RefusesSizesThatTheKernelsCannotCut) {
  auto config = smollm2();
  config.intermediate_size = 1000;
  EXPECT_THAT([&] { partition_model(config, 1); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("intermediate_size is 1000")));
}

}  // namespace
}  // namespace lockstep::shard

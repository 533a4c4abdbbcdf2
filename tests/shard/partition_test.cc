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

TEST(Partition, ReplicatesKeyValueHeadsWhenRanksOutnumberThem) {
  const auto parts = partition_model(smollm2(), 4);
  EXPECT_EQ(parts[0].query_heads, (Range{0, 2}));
  EXPECT_EQ(parts[0].key_value_heads, (Range{0, 1}));
  EXPECT_EQ(parts[1].query_heads, (Range{2, 4}));
  EXPECT_EQ(parts[1].key_value_heads, (Range{0, 2}));
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

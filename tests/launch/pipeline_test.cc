#include "launch/pipeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace lockstep::launch {
namespace {

using testing::HasSubstr;
using testing::ThrowsMessage;

model::ModelConfig config_of(int layers) {
  model::ModelConfig config;
  config.hidden_size = 64;
  config.intermediate_size = 64;
  config.num_hidden_layers = layers;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 2;
  config.head_dim = 32;
  config.vocab_size = 32;
  return config;
}

TEST(PlaceInPipeline, MakesStagesOfNeighbouringRanks) {
  const auto config = config_of(4);
  for (int rank = 0; rank < 4; ++rank) {
    const RankPlace place = place_in_pipeline(rank, 4, 2, 2, config);
    EXPECT_EQ(place.stage.index, rank / 2);
    EXPECT_EQ(place.stage.count, 2);
    EXPECT_EQ(place.stage_ranks.first, rank / 2 * 2);
    EXPECT_EQ(place.stage_ranks.size, 2);
    EXPECT_EQ(place.rank_in_stage(rank), rank % 2);
    EXPECT_EQ(place.layers, (rank < 2 ? shard::Range{0, 2} : shard::Range{2, 4}));
  }
}

TEST(PlaceInPipeline, TakesAllRanksOfAStageWhenTpIsNotSaid) {
  const RankPlace place = place_in_pipeline(5, 6, 0, 2, config_of(4));
  EXPECT_EQ(place.stage_ranks.first, 3);
  EXPECT_EQ(place.stage_ranks.size, 3);
}

TEST(PlaceInPipeline, RefusesWorldsThatDoNotSuit) {
  const auto config = config_of(4);
  EXPECT_THAT([&] { place_in_pipeline(0, 3, 0, 2, config); },
              ThrowsMessage<Error>(HasSubstr("pp is 2: mpirun has started 3 ranks")));
  EXPECT_THAT([&] { place_in_pipeline(0, 4, 4, 2, config); },
              ThrowsMessage<Error>(HasSubstr("tp is 4 and pp 2: mpirun has started 4 ranks, and "
                                             "8 are needed")));
  EXPECT_THAT([&] { place_in_pipeline(0, 1, 2, 1, config); },
              ThrowsMessage<Error>(HasSubstr("tp is 2: mpirun has started 1 rank, and 2 are")));
  EXPECT_THAT([&] { place_in_pipeline(0, 2, 3, 1, config); },
              ThrowsMessage<Error>(HasSubstr("tp is 3: mpirun has started 2 ranks")));
  EXPECT_THAT([&] { place_in_pipeline(0, 5, 1, 5, config); },
              ThrowsMessage<Error>(HasSubstr("num_hidden_layers")));
}

}  // namespace
}  // namespace lockstep::launch

#include "launch/host_room.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <vector>

namespace lockstep::launch {
namespace {

using testing::HasSubstr;

// On a host with 1000 bytes left; group 0 has no limit.
RankRoom rank(std::size_t weights, std::size_t activations, std::uint64_t group = 0,
              std::size_t left = 1000) {
  return {.weights = weights,
          .activations = activations,
          .kv_block = 10,
          .host_available = 1000,
          .group_available = left,
          .group = group};
}

TEST(HostRoom, IsWhatAllRanksOfTheHostLeaveTogether) {
  const HostRoom room = tightest_room(std::vector{rank(300, 20), rank(250, 30)});
  EXPECT_EQ(room.ranks, 2);
  EXPECT_EQ(room.weights, 550u);
  EXPECT_EQ(room.activations, 50u);
  EXPECT_EQ(room.blocks(), (1000 - 600) / 20);
}

TEST(HostRoom, OfAGroupCountsTheRanksInIt) {
  // Each rank alone in a group of 400: 80 are left of the first, so 8 blocks.
  const HostRoom room = tightest_room(std::vector{rank(300, 20, 1, 400), rank(250, 30, 2, 400)});
  EXPECT_EQ(room.ranks, 1);
  EXPECT_EQ(room.weights, 300u);
  EXPECT_TRUE(room.of_group);
  EXPECT_EQ(room.blocks(), 8);
  // Both in one of 700: 100 are left for both.
  EXPECT_EQ(tightest_room(std::vector{rank(300, 20, 1, 700), rank(250, 30, 1, 700)}).blocks(), 5);
}

TEST(HostRoom, OfGroupsThatAreWiderThanTheHostIsTheHosts) {
  const HostRoom room = tightest_room(std::vector{rank(300, 20, 1, 900), rank(250, 30, 2, 900)});
  EXPECT_EQ(room.ranks, 2);
  EXPECT_FALSE(room.of_group);
  EXPECT_EQ(room.blocks(), 20);
}

TEST(HostRoom, WithoutSpaceForWeightsHasFewerThanNoBlocks) {
  EXPECT_EQ(tightest_room(std::vector{rank(990, 10)}).blocks(), 0);
  EXPECT_EQ(tightest_room(std::vector{rank(990, 11)}).blocks(), -1);
}

TEST(HostRoom, CountsWhatRanksShareOnce) {
  const shard::RankMemory memory{.weights = 1, .activations = 2, .shared = 4, .kv_block = 8};
  const HostMemory host{.host = 100, .group = 50, .group_file = "/a"};
  EXPECT_EQ(room_of(memory, true, host).activations, 6u);
  EXPECT_EQ(room_of(memory, false, host).activations, 2u);
  EXPECT_EQ(room_of(memory, false, host).group_available, 50u);
  EXPECT_NE(room_of(memory, false, host).group, 0u);
  EXPECT_EQ(room_of(memory, false, {.host = 100, .group = 100, .group_file = ""}).group, 0u);
}

TEST(HostRoom, SaysWhatIsNeededInNumbers) {
  HostRoom room = tightest_room(std::vector{rank(3000, 50)});
  room.available = 2048;
  const std::string text = needs_text(room, 100, 1600);
  EXPECT_THAT(text, HasSubstr("weights take 2.9 KiB"));
  EXPECT_THAT(text, HasSubstr("activations 50 B"));
  EXPECT_THAT(text, HasSubstr("max_model_len 1600 takes 1000 B"));
  EXPECT_THAT(text, HasSubstr("4.0 KiB in all"));  // 4050
  EXPECT_THAT(text, HasSubstr("2.0 KiB are available"));
}

// 2 layers of 64 columns and a vocabulary of 4096, in f32: 2 x 4096 x 64 + 2 x (4 x 64 x 64 + 3 x
// 128 x 64) values and 5 norms, so 2,425,088 bytes.
shard::ModelShape small_shape() {
  model::ModelConfig config;
  config.hidden_size = 64;
  config.intermediate_size = 128;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 2;
  config.num_key_value_heads = 2;
  config.head_dim = 32;
  config.vocab_size = 4096;
  return {.config = config, .format = [](const std::string&) { return shard::MatrixFormat::f32; }};
}

TEST(HostRoom, RemediesAreThoseThatFit) {
  const shard::StepSizes sizes{.max_batch_tokens = 16, .max_logits = 1, .max_positions = 8192};
  // Two ranks have 16 + 16 + 16 bytes less than half of 3,000,000 each: of one sequence of 8192
  // positions, 4 MiB, there is room for a part.
  const HostRoom room{.ranks = 2,
                      .weights = 2425088 + 1280,
                      .activations = 100000,
                      .kv_block = 8192,
                      .available = 3000000};
  const std::string text = remedies_text(small_shape(), room, 2, sizes);
  // (3,000,000 - 2,526,368) / 8192 blocks of 16 positions.
  EXPECT_THAT(text, HasSubstr("--max-model-len 912"));
  EXPECT_EQ(text.find("hosts"), std::string::npos);  // half of 4 MiB and 1.2 MB are more than 3 MB
  EXPECT_EQ(text.find("weights in"), std::string::npos);
}

TEST(HostRoom, RemediesOfWeightsThatAreTooLargeAreHostsAndNarrowerOnes) {
  const shard::StepSizes sizes{.max_batch_tokens = 16, .max_logits = 1, .max_positions = 64};
  const HostRoom room{.ranks = 1,
                      .weights = 2425088,
                      .activations = 100000,
                      .kv_block = 8192,
                      .available = 2000000};
  const std::string text = remedies_text(small_shape(), room, 1, sizes);
  EXPECT_EQ(text, "2 hosts with as much memory, a rank on each, or weights in bf16");
}

TEST(HostRoom, WithoutAnyRemedySaysSo) {
  const shard::StepSizes sizes{.max_batch_tokens = 16, .max_logits = 1, .max_positions = 64};
  const HostRoom room{
      .ranks = 1, .weights = 2425088, .activations = 100000, .kv_block = 8192, .available = 1000};
  EXPECT_EQ(remedies_text(small_shape(), room, 1, sizes), "more memory");
}

}  // namespace
}  // namespace lockstep::launch

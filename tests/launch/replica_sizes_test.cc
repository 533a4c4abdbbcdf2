#include "launch/replica_sizes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/error.h"

namespace lockstep::launch {
namespace {

TEST(BatchedTokens, AreTheDevicesWhereNobodySaysHowMany) {
  const ServeOptions options;
  EXPECT_EQ(settle_batched_tokens(options, Device::cpu), 512);
  EXPECT_EQ(settle_batched_tokens(options, Device::cuda), 2048);
}

TEST(BatchedTokens, AreWhatIsAskedOnEveryDevice) {
  ServeOptions options;
  options.max_num_batched_tokens = 512;
  EXPECT_EQ(settle_batched_tokens(options, Device::cpu), 512);
  EXPECT_EQ(settle_batched_tokens(options, Device::cuda), 512);
}

TEST(BatchedTokens, AreRefusedBelowTheNumberOfSequences) {
  ServeOptions options;
  options.max_num_seqs = 600;
  EXPECT_EQ(settle_batched_tokens(options, Device::cuda), 2048);
  EXPECT_THAT([&] { settle_batched_tokens(options, Device::cpu); },
              testing::ThrowsMessage<Error>(
                  testing::HasSubstr("--max-num-batched-tokens: 512 is below --max-num-seqs 600")));
}

TEST(SpeculativeTokens, AreTheDevicesWhereNobodySaysHowMany) {
  ServeOptions options;
  EXPECT_EQ(settle_speculative_tokens(options, Device::cpu), 7);
  EXPECT_EQ(settle_speculative_tokens(options, Device::cuda), 0);
  EXPECT_EQ(cpu_logits(options), 64);
  options.max_num_seqs = 1;
  EXPECT_EQ(cpu_logits(options), 8);
  options.max_num_batched_tokens = 5;
  EXPECT_EQ(settle_speculative_tokens(options, Device::cpu), 4);
  EXPECT_EQ(cpu_logits(options), 5);
  options.max_num_batched_tokens = 1;
  EXPECT_EQ(settle_speculative_tokens(options, Device::cpu), 0);
}

TEST(SpeculativeTokens, AreRefusedWhereAStepHasNoRoomForThem) {
  using testing::HasSubstr;
  ServeOptions options;
  options.num_speculative_tokens = 0;
  EXPECT_EQ(settle_speculative_tokens(options, Device::cuda), 0);
  options.num_speculative_tokens = 511;
  EXPECT_EQ(settle_speculative_tokens(options, Device::cpu), 511);
  EXPECT_EQ(cpu_logits(options), 512);
  EXPECT_THAT([&] { settle_speculative_tokens(options, Device::cuda); },
              testing::ThrowsMessage<Error>(HasSubstr("on GPUs")));
  options.num_speculative_tokens = 512;
  EXPECT_THAT([&] { settle_speculative_tokens(options, Device::cpu); },
              testing::ThrowsMessage<Error>(HasSubstr("--num-speculative-tokens: 512 is not below "
                                                      "--max-num-batched-tokens 512")));
}

TEST(ModelLen, HoldsAPromptAndItsAnswer) {
  model::ModelConfig config;
  config.max_position_embeddings = 2;
  EXPECT_EQ(settle_model_len(0, config), 2);
  EXPECT_THAT([&] { settle_model_len(1, config); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("max_model_len is 1")));
  config.max_position_embeddings = 1;  // a sliding window's
  EXPECT_THAT([&] { settle_model_len(0, config); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("max_model_len is 1")));
}

}  // namespace
}  // namespace lockstep::launch

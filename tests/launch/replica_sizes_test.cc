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

#include "kernels/cuda/attention_backend.h"

#include <gmock/gmock.h>

#include <vector>

#include "base/error.h"

namespace lockstep::kernels::cuda {
namespace {

using testing::HasSubstr;

constexpr AttentionNeeds kServed{.head_dim = 128,
                                 .key_value_heads = 8,
                                 .model_group = 4,
                                 .format = CacheFormat::bf16,
                                 .group = 4,
                                 .flashinfer_built_in = true};

TEST(AttentionChoice, TakesFlashInferWhereItServesTheModel) {
  for (const std::int32_t head_dim : {64, 128}) {
    for (const std::int32_t group : {1, 3, 8, 16}) {
      auto needs = kServed;
      needs.head_dim = head_dim;
      needs.model_group = needs.group = group;
      EXPECT_EQ(choose_attention(AttentionBackend::automatic, needs).backend,
                AttentionBackend::flashinfer);
    }
  }
}

TEST(AttentionChoice, SaysWhyItTakesTheOwnKernel) {
  const auto reason = [](auto change, AttentionBackend asked = AttentionBackend::automatic) {
    auto needs = kServed;
    change(needs);
    if (asked != AttentionBackend::own) {
      EXPECT_THROW(choose_attention(AttentionBackend::flashinfer, needs), Error);
    }
    const AttentionChoice choice = choose_attention(asked, needs);
    EXPECT_EQ(choice.backend, AttentionBackend::own);
    return choice.reason;
  };
  EXPECT_THAT(reason([](auto& needs) { needs.head_dim = 96; }), HasSubstr("head_dim"));
  EXPECT_THAT(reason([](auto& needs) { needs.model_group = 17; }), HasSubstr("17 query heads"));
  EXPECT_THAT(reason([](auto& needs) { needs.flashinfer_built_in = false; }),
              HasSubstr("no FlashInfer"));
  EXPECT_THAT(reason([](auto&) {}, AttentionBackend::own), HasSubstr("as asked"));
}

// SmolLM2's 3 heads are whole at 1 and at 3 ranks, and not at 2: FlashInfer only if asked for.
TEST(AttentionChoice, DoesNotFollowTheNumberOfRanks) {
  auto needs = kServed;
  needs.key_value_heads = 3;
  for (const std::int32_t group : {3, 0}) {
    needs.group = group;
    EXPECT_EQ(choose_attention(AttentionBackend::automatic, needs).backend, AttentionBackend::own);
  }
  needs.group = 3;
  EXPECT_EQ(choose_attention(AttentionBackend::flashinfer, needs).backend,
            AttentionBackend::flashinfer);
  needs = kServed;
  needs.group = 0;
  for (const auto asked : {AttentionBackend::automatic, AttentionBackend::flashinfer}) {
    EXPECT_THAT([&] { choose_attention(asked, needs); },
                testing::ThrowsMessage<Error>(HasSubstr("--attention-backend own")));
  }
}

TEST(AttentionChoice, HasACommonGroupOnlyWhereAllHeadsHaveAsManyQueries) {
  const auto group = [](const std::vector<std::int32_t>& first_query) {
    return common_group(first_query);
  };
  EXPECT_EQ(group({0, 3, 6}), 3);
  EXPECT_EQ(group({0, 3, 5}), 0);
  EXPECT_EQ(group({0, 2, 5}), 0);
  EXPECT_EQ(group({0}), 0);
  EXPECT_EQ(group({}), 0);
}

// For it has other bits, and decodes slowly: never without being asked for.
TEST(AttentionChoice, TakesFa3OnlyWhereItIsAskedForAndServes) {
  auto needs = kServed;
  needs.fa3_there = true;
  EXPECT_EQ(choose_attention(AttentionBackend::automatic, needs).backend,
            AttentionBackend::flashinfer);
  EXPECT_EQ(choose_attention(AttentionBackend::fa3, needs).backend, AttentionBackend::fa3);
  const auto expect_refused = [&](auto change, const char* reason) {
    auto other = needs;
    change(other);
    EXPECT_THAT([&] { choose_attention(AttentionBackend::fa3, other); },
                testing::ThrowsMessage<Error>(HasSubstr(reason)));
  };
  expect_refused([](auto& other) { other.fa3_there = false; }, "a Hopper GPU");
  expect_refused([](auto& other) { other.head_dim = 64; }, "head_dim of 128, not 64");
  expect_refused([](auto& other) { other.format = CacheFormat::e4m3; }, "bf16 alone");
  expect_refused([](auto& other) { other.biases = true; }, "biased queries and keys");
  expect_refused([](auto& other) { other.group = 0; }, "by FA3: at this number of ranks");
}

TEST(AttentionBackendName, IsOneOfFour) {
  EXPECT_EQ(attention_backend_of("auto"), AttentionBackend::automatic);
  EXPECT_EQ(attention_backend_of("flashinfer"), AttentionBackend::flashinfer);
  EXPECT_EQ(attention_backend_of("own"), AttentionBackend::own);
  EXPECT_EQ(attention_backend_of("fa3"), AttentionBackend::fa3);
  EXPECT_THROW(attention_backend_of("fa2"), Error);
}

}  // namespace
}  // namespace lockstep::kernels::cuda

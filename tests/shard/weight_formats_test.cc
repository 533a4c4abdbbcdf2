// A model in every storage format gives the same bits at every world size, whatever is cut.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/shard/formatted_llama.h"

namespace lockstep::shard {
namespace {

using kernels::DType;

// The logits of the last of some tokens, the parts of all ranks one after the other.
std::vector<float> logits(const model::Model& model, int world) {
  const RunnerOptions kOptions{.num_blocks = 4, .max_batch_tokens = 64, .max_positions = 64};
  std::vector<std::int32_t> tokens;
  for (std::int32_t i = 0; i < 37; ++i) tokens.push_back(i * 29 % 104);
  const std::int32_t blocks[]{2, 0, 3};
  std::vector<std::vector<float>> parts(static_cast<std::size_t>(world));
  comm::spawn_ranks(world, std::chrono::seconds(20), [&](comm::Communicator& communicator) {
    kernels::ThreadPool pool(1);
    StepTimes times(communicator);
    LlamaRunner runner(model, kOptions, communicator, pool,
                       kernels::kernel_table(kernels::supported_families().back()), times);
    const ForwardSequence sequence{tokens, 0, blocks, true};
    const auto part = runner.forward({&sequence, 1});
    parts[static_cast<std::size_t>(communicator.rank())].assign(part.begin(), part.end());
  });
  std::vector<float> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

struct Formats {
  const char* name;
  DType outer;  // of the embedding and the head
  std::vector<DType> projections;
  ScaleBlock scales = kOfBlocks;
};

class WeightFormats : public testing::TestWithParam<Formats> {};

TEST_P(WeightFormats, GiveTheSameBitsAtEveryWorldSize) {
  model::Model model;
  model.path = "random";
  model.config = formats_config();
  model.tensors = std::make_unique<FormattedTensors>(model.config, GetParam().outer,
                                                     GetParam().projections, GetParam().scales);
  const auto expected = logits(model, 1);
  ASSERT_EQ(expected.size(), 104u);
  float least = expected[0], most = expected[0];
  for (const float value : expected) {
    ASSERT_TRUE(std::isfinite(value));
    least = std::min(least, value), most = std::max(most, value);
  }
  EXPECT_LT(least, most);
  for (const int world : {2, 3}) {
    const auto other = logits(model, world);
    ASSERT_EQ(other.size(), expected.size());
    EXPECT_EQ(std::memcmp(other.data(), expected.data(), expected.size() * sizeof(float)), 0)
        << world << " ranks";
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, WeightFormats,
    testing::Values(
        Formats{"q4_0", DType::q4_0, {DType::q4_0}}, Formats{"q4_1", DType::q4_1, {DType::q4_1}},
        Formats{"q8_0", DType::q8_0, {DType::q8_0}}, Formats{"q4_k", DType::q4_k, {DType::q4_k}},
        Formats{"q6_k", DType::q6_k, {DType::q6_k}},
        Formats{"q5_0_and_q5_1", DType::q8_0, {DType::q5_0, DType::q5_1}},
        Formats{"q5_k_m", DType::q6_k, {DType::q5_k, DType::q5_k, DType::q6_k}},
        Formats{"q4_k_m", DType::q6_k, {DType::q4_k, DType::q4_k, DType::q6_k}},
        Formats{"gptq", DType::f16, {DType::gptq}}, Formats{"awq", DType::bf16, {DType::awq}},
        Formats{"gptq_8_and_awq_8", DType::f16, {DType::gptq_8, DType::awq_8}},
        Formats{"u4_zeros", DType::bf16, {DType::u4_zeros, DType::u4}},
        Formats{"u4", DType::bf16, {DType::u4}}, Formats{"u8", DType::bf16, {DType::u8, DType::u4}},
        Formats{"i8", DType::bf16, {DType::i8}}, Formats{"e4m3_block", DType::bf16, {DType::e4m3}},
        Formats{"e4m3_row", DType::e4m3, {DType::e4m3}, kOfRows},
        Formats{"e4m3_and_others", DType::i8, {DType::e4m3, DType::bf16, DType::i8}, kOfTensors}),
    [](const auto& info) { return info.param.name; });

// A few rows of tiles at a time, or all; on one thread or several.
TEST(GpuLoading, GivesTheSameBytesThroughAnyStagingMemory) {
  for (const DType type : {DType::bf16, DType::q4_1, DType::q8_0}) {
    const model::Model model = formatted(DType::f16, {type});
    const auto expected = loaded(model, {});
    EXPECT_GT(expected.size(), 100'000u);
    EXPECT_EQ(loaded(model, {.threads = 3, .staging_bytes = 10'000}), expected);
    EXPECT_EQ(loaded(model, {.threads = 1, .staging_bytes = 123'457}), expected);
  }
  EXPECT_NE(loaded(formatted(DType::f16, {DType::bf16}), {.fp8 = true}).size(),
            loaded(formatted(DType::f16, {DType::bf16}), {}).size());
}

TEST(GpuLoading, NamesWhatCannotBe) {
  EXPECT_THAT([] { loaded(formatted(DType::f16, {DType::bf16}), {.staging_bytes = 100}); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("staging_bytes is 100")));
  EXPECT_THAT([] { loaded(formatted(DType::f16, {DType::q4_1}), {.fp8 = true}); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("q_proj.weight is q4_1")));
  model::Model model = formatted(DType::f16, {DType::bf16});
  model.config.head_norms = true;
  model.config.head_dim = 96;
  model.tensors.reset();  // it is known before anything is read
  EXPECT_THAT([&] { loaded(model, {}); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("head_dim is 96: on GPUs heads")));
}

// Scales are of whole rows, also where a rank has some of the columns.
TEST(GpuLoading, MakesTheSameE4m3AtEveryWorldSize) {
  const model::Model model = formatted(DType::f16, {DType::bf16, DType::f32});
  const GpuLoadOptions fp8{.fp8 = true};
  const auto expected = few_logits(model, 1, true, fp8);
  EXPECT_EQ(few_logits(model, 2, true, fp8), expected);
  EXPECT_EQ(few_logits(model, 3, true, fp8), expected);
  const auto exact = few_logits(model, 1, true);
  float largest = 0, difference = 0;
  for (std::size_t i = 0; i < exact.size(); ++i) {
    largest = std::max(largest, std::fabs(exact[i]));
    difference = std::max(difference, std::fabs(exact[i] - expected[i]));
  }
  EXPECT_GT(difference, 0);
  EXPECT_LT(difference, 0.1f * largest);  // four bits of mantissa
}

TEST(GpuWeightFormats, AreNearTheCpusAndTheSameAtEveryWorldSize) {
  for (const auto& projections :
       std::vector<std::vector<DType>>{{DType::q4_1},
                                       {DType::q4_0},
                                       {DType::q8_0},
                                       {DType::gptq},
                                       {DType::gptq_8, DType::awq_8},
                                       {DType::u4},
                                       {DType::u4_zeros},
                                       {DType::u8},
                                       {DType::q5_0, DType::q5_1, DType::q5_k},
                                       {DType::q4_k, DType::q6_k, DType::f16}}) {
    model::Model model;
    model.path = "random";
    model.config = formats_config();
    model.tensors = std::make_unique<FormattedTensors>(model.config, DType::q8_0, projections);
    const auto on_gpu = few_logits(model, 1, true);
    const auto on_cpu = few_logits(model, 1, false);
    float scale = 0, difference = 0;
    ASSERT_EQ(on_gpu.size(), on_cpu.size());
    for (std::size_t i = 0; i < on_gpu.size(); ++i) {
      scale = std::max(scale, std::fabs(on_cpu[i]));
      difference = std::max(difference, std::fabs(on_gpu[i] - on_cpu[i]));
    }
    EXPECT_LT(difference, 0.02f * scale) << static_cast<int>(projections[0]);
    EXPECT_EQ(few_logits(model, 2, true), on_gpu);
  }
}

}  // namespace
}  // namespace lockstep::shard

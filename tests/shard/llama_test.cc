// The forward pass against plain double-precision loops, and against itself at every world size.
#include "shard/llama.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <numeric>
#include <random>

#include "tests/kernels/emulated_unit/emulated_unit.h"
#include "tests/shard/llama_cluster.h"
#include "tests/shard/random_llama.h"

namespace lockstep::shard {
namespace {

using kernels::cpu::KernelTable;

constexpr RunnerOptions kOptions{.block_size = 16,
                                 .num_blocks = 12,
                                 .max_batch_tokens = 64,
                                 .max_logits = 4,
                                 .max_positions = 128};

using Steps = std::vector<std::vector<ForwardSequence>>;

// All rows, one behind the other.
LogitRow joined(const RowsOfRanks& rows) {
  LogitRow bits;
  for (const LogitRow& row : rows.all()) bits.insert(bits.end(), row.begin(), row.end());
  return bits;
}

// Runs `steps` of batches on `world` ranks; returns the logits of all steps, whole vocabulary.
LogitRow run(const model::Model& model, int world, int threads, const KernelTable& kernels,
             const Steps& steps, const RunnerOptions& options = kOptions) {
  RowsOfRanks rows(world);
  comm::spawn_ranks(world, std::chrono::seconds(20), [&](comm::Communicator& communicator) {
    kernels::ThreadPool pool(threads);
    StepTimes times(communicator);
    LlamaRunner runner(model, options, communicator, pool, kernels, times);
    for (const auto& batch : steps) {
      rows.add(communicator.rank(), runner.forward(batch), runner.vocab_range());
    }
  });
  return joined(rows);
}

// The same on a pipeline of stages of `tp` ranks each.
LogitRow run_pipeline(const model::Model& model, int stages, int tp, const KernelTable& kernels,
                      const Steps& steps) {
  RowsOfRanks rows(tp);
  spawn_stages(model.config, stages, tp,
               [&](comm::Communicator& communicator, const PipelinePlace& place) {
                 kernels::ThreadPool pool(1);
                 StepTimes times(communicator, nullptr, place.previous);
                 LlamaRunner runner(model, kOptions, communicator, pool, kernels, times, place);
                 for (const auto& batch : steps) {
                   rows.add(communicator.rank(), runner.forward(batch), runner.vocab_range());
                 }
               });
  return joined(rows);
}

const KernelTable& fastest() { return kernels::kernel_table(kernels::supported_families().back()); }

// With the kernels of the fastest family here, and with those for a matrix unit, which need not be
// here.
class Llama : public testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (GetParam() && !kernels::can_emulate_unit()) {
      GTEST_SKIP()
          << "this machine has no AVX-512 with BF16 and VBMI to emulate a matrix unit with";
    }
  }

  model::Model model_ = make_model(small_config());
  const std::vector<std::int32_t> tokens_ = some_tokens(45, 21);
  const std::vector<std::int32_t> other_ = some_tokens(20, 22);
  const std::int32_t blocks_[3] = {7, 2, 9};
  const std::int32_t other_blocks_[2] = {1, 5};
  const KernelTable& table_ = GetParam() ? kernels::emulated_unit_table() : fastest();

  ForwardSequence piece(int begin, int end, bool logits) const {
    return {std::span(tokens_).subspan(static_cast<std::size_t>(begin),
                                       static_cast<std::size_t>(end - begin)),
            begin, blocks_, logits};
  }
};

INSTANTIATE_TEST_SUITE_P(Kernels, Llama, testing::Bool(), [](const auto& info) {
  return info.param ? "emulated_unit" : "fastest_family";
});

TEST_P(Llama, EqualsTheDoublePrecisionModel) {
  const auto bits = run(model_, 1, 1, table_, {{piece(0, 45, true)}});
  const auto expected = Reference(model_).last_logits(tokens_);
  ASSERT_EQ(bits.size(), expected.size());
  double scale = 0;
  for (const double value : expected) scale = std::max(scale, std::fabs(value));
  for (std::size_t i = 0; i < bits.size(); ++i) {
    // Activations enter products in bf16, eight bits of mantissa, and so lie keys and values.
    EXPECT_NEAR(std::bit_cast<float>(bits[i]), expected[i], 0.015 * scale) << i;
  }
}

TEST_P(Llama, GivesTheSameBitsAtEveryWorldSize) {
  const Steps steps{{piece(0, 45, true)}};
  const auto expected = run(model_, 1, 1, table_, steps);
  for (int world = 2; world <= 6; ++world) {
    EXPECT_EQ(run(model_, world, 1, table_, steps), expected) << world << " ranks";
  }
}

TEST_P(Llama, GivesTheSameBitsWithAnyNumberOfThreads) {
  const Steps steps{{piece(0, 45, true)}};
  const auto expected = run(model_, 1, 1, table_, steps);
  for (const int threads : {2, 3}) EXPECT_EQ(run(model_, 1, threads, table_, steps), expected);
}

TEST_P(Llama, GivesTheSameBitsInEveryFamilyOfItsKind) {
  const Steps steps{{piece(0, 45, true)}};
  const auto expected = run(model_, 1, 1, table_, steps);
  const bool has_unit = table_.bf16_layout == kernels::PackedLayout::rows;
  for (const auto family : kernels::supported_families()) {
    if ((family == kernels::CpuFamily::amx) != has_unit) continue;  // that has bits of its own
    EXPECT_EQ(run(model_, 1, 1, kernels::kernel_table(family), steps), expected)
        << kernels::name(family);
  }
}

TEST_P(Llama, GivesTheSameBitsInChunksAndInCompany) {
  const auto whole = run(model_, 1, 1, table_, {{piece(0, 45, true)}});
  const ForwardSequence company{other_, 0, other_blocks_, false};
  const Steps chunks{{piece(0, 7, false)},
                     {company, piece(7, 8, false)},
                     {piece(8, 40, false)},
                     {piece(40, 44, false)},
                     {piece(44, 45, true)}};
  EXPECT_EQ(run(model_, 1, 1, table_, chunks), whole);
  EXPECT_EQ(run(model_, 2, 2, table_, chunks), whole);
}

TEST_P(Llama, GivesTheSameBitsInAPipeline) {
  auto config = small_config();
  config.num_hidden_layers = 3;
  for (const bool tied : {true, false}) {
    config.tie_word_embeddings = tied;
    const model::Model model = make_model(config);
    const ForwardSequence company{other_, 0, other_blocks_, true};
    const Steps steps{{piece(0, 7, false)}, {company, piece(7, 44, false)}, {piece(44, 45, true)}};
    const auto expected = run(model, 1, 1, table_, steps);
    ASSERT_EQ(expected.size(), 2u * 107u);
    EXPECT_EQ(run_pipeline(model, 2, 1, table_, steps), expected);
    EXPECT_EQ(run_pipeline(model, 3, 1, table_, steps), expected);
    EXPECT_EQ(run_pipeline(model, 2, 2, table_, steps), expected);
    EXPECT_EQ(run_pipeline(model, 3, 3, table_, steps), expected);
  }
}

TEST_P(Llama, KeepsKeysAndValuesInBytesOnRequest) {
  RunnerOptions options = kOptions;
  options.kv_format = kernels::KvFormat::int8;
  const Steps chunks{{piece(0, 30, false)}, {piece(30, 44, false)}, {piece(44, 45, true)}};
  const auto bits = run(model_, 1, 1, table_, chunks, options);
  const auto expected = Reference(model_).last_logits(tokens_);
  ASSERT_EQ(bits.size(), expected.size());
  double scale = 0;
  for (const double value : expected) scale = std::max(scale, std::fabs(value));
  for (std::size_t i = 0; i < bits.size(); ++i) {
    EXPECT_NEAR(std::bit_cast<float>(bits[i]), expected[i], 0.03 * scale) << i;
  }
  EXPECT_NE(bits, run(model_, 1, 1, table_, chunks));
  for (int world = 2; world <= 4; ++world) {
    EXPECT_EQ(run(model_, world, 2, table_, {{piece(0, 45, true)}}, options), bits);
  }
}

// One sequence with so many keys that threads share its chunks, and another one beside it. Of four
// ranks two have only a part of the query heads that share their keys.
TEST_P(Llama, GivesTheSameBitsWhenThreadsShareALongContext) {
  constexpr std::int32_t kLong = 2100;
  const RunnerOptions options{.num_blocks = 150, .max_batch_tokens = kLong, .max_positions = 2200};
  const std::vector<std::int32_t> tokens = some_tokens(kLong, 23);
  std::vector<std::int32_t> blocks(132);
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    blocks[i] = static_cast<std::int32_t>(10 + i * 61 % 137);
  }
  const auto part = [&](int begin, int end, bool logits) {
    return ForwardSequence{std::span(tokens).subspan(static_cast<std::size_t>(begin),
                                                     static_cast<std::size_t>(end - begin)),
                           begin, blocks, logits};
  };
  const auto expected = run(model_, 1, 1, table_, {{part(0, kLong, true)}}, options);
  const ForwardSequence company{other_, 0, other_blocks_, false};
  for (const int threads : {1, 2, 3}) {
    for (const int world : {1, 2, 4}) {
      const Steps steps{{part(0, kLong - 1, false)}, {company, part(kLong - 1, kLong, true)}};
      EXPECT_EQ(run(model_, world, threads, table_, steps, options), expected)
          << threads << " threads, " << world << " ranks";
    }
  }
}

TEST_P(Llama, LeavesOutLogitsThatNobodyWants) {
  EXPECT_TRUE(run(model_, 2, 1, table_, {{piece(0, 45, false)}}).empty());
}

TEST_P(Llama, UntiesOrTiesTheHeadAsTheModelSays) {
  auto config = small_config();
  config.tie_word_embeddings = true;
  const auto tied = make_model(config);
  const auto bits = run(tied, 3, 1, table_, {{piece(0, 45, true)}});
  const auto expected = Reference(tied).last_logits(tokens_);
  double scale = 0;
  for (const double value : expected) scale = std::max(scale, std::fabs(value));
  for (std::size_t i = 0; i < bits.size(); ++i) {
    EXPECT_NEAR(std::bit_cast<float>(bits[i]), expected[i], 0.015 * scale) << i;
  }
}

// Of Qwen2 and of Qwen3.
TEST_P(Llama, ServesBiasesAndNormsOfHeads) {
  for (const auto& config : {with_biases(small_config()), with_head_norms(small_config())}) {
    SCOPED_TRACE(config.family);
    const model::Model model = make_model(config);
    const auto bits = run(model, 1, 1, table_, {{piece(0, 45, true)}});
    const auto expected = Reference(model).last_logits(tokens_);
    ASSERT_EQ(bits.size(), expected.size());
    double scale = 0;
    for (const double value : expected) scale = std::max(scale, std::fabs(value));
    for (std::size_t i = 0; i < bits.size(); ++i) {
      EXPECT_NEAR(std::bit_cast<float>(bits[i]), expected[i], 0.015 * scale) << i;
    }
    const ForwardSequence company{other_, 0, other_blocks_, false};
    const Steps chunks{{piece(0, 7, false)}, {company, piece(7, 44, false)}, {piece(44, 45, true)}};
    for (int world = 1; world <= 6; ++world) {
      EXPECT_EQ(run(model, world, 2, table_, chunks), bits) << world << " ranks";
    }
    EXPECT_EQ(run_pipeline(model, 2, 2, table_, chunks), bits);
  }
}

TEST(RopeTable, ScalesLowFrequenciesAsLlama3Does) {
  auto config = small_config();
  config.head_dim = 128;
  config.rope_theta = 500000.0;
  const auto plain = rope_frequencies(config);
  config.rope_scaling = model::Llama3RopeScaling{8.0f, 1.0f, 4.0f, 8192};
  const auto scaled = rope_frequencies(config);
  EXPECT_DOUBLE_EQ(scaled[0], plain[0]);        // high frequencies stay
  EXPECT_DOUBLE_EQ(scaled[63], plain[63] / 8);  // low ones are divided
  // In between, from transformers' _compute_llama3_parameters (float32): index 30.
  const double wavelength = 2 * M_PI / plain[30];
  const double smooth = (8192 / wavelength - 1) / 3;
  ASSERT_GT(smooth, 0);
  ASSERT_LT(smooth, 1);
  EXPECT_NEAR(scaled[30], plain[30] * ((1 - smooth) / 8 + smooth), 1e-12);
}

}  // namespace
}  // namespace lockstep::shard

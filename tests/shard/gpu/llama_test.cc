// The GPU's forward pass, on the executor: against plain double-precision loops, and against itself
// at every world size.
#include "shard/gpu/llama.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <numeric>

#include "tests/shard/gpu/executed_exchange.h"
#include "tests/shard/gpu/random_weights.h"

namespace lockstep::shard {
namespace {

constexpr std::int32_t kVocabulary = 107;

GpuRunnerOptions small_options() {
  return {.block_size = 16,
          .max_batch_tokens = 48,
          .max_sequences = 12,
          .max_positions = 128,
          .max_recordings = 0};
}

constexpr std::chrono::nanoseconds kAmple = std::chrono::seconds(120);

using Steps = std::vector<std::vector<ForwardSequence>>;

// The bits of all steps' logits, of the whole vocabulary.
using Bits = std::vector<std::uint32_t>;

struct Ran {
  Bits bits;
  int recordings = 0;  // of rank 0
  int exchanges = 0;
  int waits = 0;
  std::size_t longest_silence = 0;  // of rank 0, while it waited
  int signs = 0;                    // that work went on
};

Ran run(const model::Model& model, int world, const Steps& steps,
        const GpuRunnerOptions& options = small_options(),
        kernels::cuda::Runs runs = kernels::cuda::Runs::once, bool plain = false,
        kernels::cuda::Doing doing = kernels::cuda::Doing::at_once,
        std::optional<std::chrono::nanoseconds> peers = std::nullopt) {
  std::vector<std::vector<std::vector<float>>> per_rank(static_cast<std::size_t>(world));
  Ran ran;
  comm::spawn_ranks(world, std::chrono::seconds(120), [&](comm::Communicator& communicator) {
    const auto rank = static_cast<std::size_t>(communicator.rank());
    kernels::cuda::ExecutedGpu gpu(runs, doing);
    ExecutedExchange exchange(gpu, communicator, peers);
    const auto parts = partition_model(model.config, world);
    // One rank alone takes the tests' own way to the weights, others the loader's.
    GpuLlamaRunner runner(
        model.config,
        world == 1 && !plain
            ? random_weights(model, parts[rank], gpu)
            : load_gpu_weights(model, parts[rank], gpu, {.plain = plain, .staging_bytes = 1 << 20}),
        options, gpu, exchange);
    runner.allocate_cache(24);
    if (rank == 0) runner.tell_progress([&] { ++ran.signs; });
    const auto range =
        static_cast<std::size_t>(runner.vocab_range().end - runner.vocab_range().begin);
    for (const auto& batch : steps) {
      const auto logits = runner.forward(batch);
      for (std::size_t first = 0; first < logits.size(); first += range) {
        const auto row = logits.subspan(first, range);
        per_rank[rank].emplace_back(row.begin(), row.end());
      }
    }
    if (rank == 0) {
      ran.recordings = runner.recordings();
      ran.exchanges = exchange.exchanges;
      ran.waits = exchange.waits;
      ran.longest_silence = exchange.longest_silence;
    }
    communicator.barrier("end");
  });
  for (std::size_t row = 0; row < per_rank[0].size(); ++row) {
    for (const auto& rank : per_rank) {
      for (const float value : rank[row]) ran.bits.push_back(std::bit_cast<std::uint32_t>(value));
    }
  }
  return ran;
}

Bits row_of(const Bits& bits, std::size_t row) {
  const auto first = bits.begin() + static_cast<std::ptrdiff_t>(row * kVocabulary);
  return {first, first + kVocabulary};
}

class GpuLlama : public testing::Test {
 protected:
  model::Model model_ = make_model(small_config());
  const std::vector<std::int32_t> tokens_ = some_tokens(35, 21);
  const std::vector<std::int32_t> other_ = some_tokens(20, 22);
  const std::int32_t blocks_[3] = {7, 2, 9};
  const std::int32_t other_blocks_[2] = {1, 5};

  ForwardSequence piece(int begin, int end, bool logits) const {
    return {std::span(tokens_).subspan(static_cast<std::size_t>(begin),
                                       static_cast<std::size_t>(end - begin)),
            begin, std::span(blocks_).first(static_cast<std::size_t>((end + 15) / 16)), logits};
  }
  ForwardSequence company(int begin, int end, bool logits) const {
    return {std::span(other_).subspan(static_cast<std::size_t>(begin),
                                      static_cast<std::size_t>(end - begin)),
            begin, std::span(other_blocks_).first(static_cast<std::size_t>((end + 15) / 16)),
            logits};
  }
  Steps whole() const { return {{piece(0, 35, true)}}; }

  void expect_near_the_model(const Bits& bits, const model::Model& model, double bound) const {
    const auto expected = Reference(model).last_logits(tokens_);
    ASSERT_EQ(bits.size(), expected.size());
    double scale = 0, difference = 0;
    for (std::size_t i = 0; i < bits.size(); ++i) {
      scale = std::max(scale, std::fabs(expected[i]));
      difference = std::max(difference, std::fabs(std::bit_cast<float>(bits[i]) - expected[i]));
    }
    EXPECT_LT(difference, bound * scale);
  }
};

// Activations and the cache are bf16, eight bits of mantissa.
TEST_F(GpuLlama, EqualsTheDoublePrecisionModel) {
  expect_near_the_model(run(model_, 1, whole()).bits, model_, 0.02);
}

TEST_F(GpuLlama, EqualsTheDoublePrecisionModelWithATiedHead) {
  auto config = small_config();
  config.tie_word_embeddings = true;
  const model::Model model = make_model(config);
  expect_near_the_model(run(model, 1, whole()).bits, model, 0.02);
}

// Of Qwen2 and of Qwen3.
TEST_F(GpuLlama, ServesBiasesAndNormsOfHeads) {
  for (const auto& config : {with_biases(small_config()), with_head_norms(small_config())}) {
    SCOPED_TRACE(config.family);
    const model::Model model = make_model(config);
    const Bits bits = run(model, 1, whole()).bits;
    expect_near_the_model(bits, model, 0.02);
    const Steps chunks{
        {piece(0, 7, false)}, {company(0, 9, false), piece(7, 34, false)}, {piece(34, 35, true)}};
    for (const int world : {1, 2, 3}) {
      EXPECT_EQ(run(model, world, chunks).bits, bits) << world << " ranks";
    }
    EXPECT_EQ(run(model, 1, chunks, small_options(), kernels::cuda::Runs::twice).bits, bits);
  }
}

TEST_F(GpuLlama, RefusesNormsOfHeadsThatAWarpDoesNotShareEvenly) {
  auto config = with_head_norms(small_config());
  config.head_dim = 96;
  const model::Model model = make_model(config);
  try {
    run(model, 1, whole());
    FAIL() << "was taken";
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), testing::HasSubstr("head_dim is 96: on GPUs heads with norms"));
  }
}

TEST_F(GpuLlama, HasNoRaces) {
  const Steps steps{{piece(0, 3, true), company(0, 2, false)}, {piece(3, 4, true)}};
  const auto options = small_options();
  EXPECT_EQ(run(model_, 1, steps, options, kernels::cuda::Runs::twice).bits,
            run(model_, 1, steps).bits);
}

// Two ranks: three key-value heads in unequal runs; four and more: replicated.
TEST_F(GpuLlama, GivesTheSameBitsAtEveryWorldSize) {
  const Bits expected = run(model_, 1, whole()).bits;
  for (const int world : {2, 3, 4, 6}) {
    EXPECT_EQ(run(model_, world, whole()).bits, expected) << world << " ranks";
  }
}

TEST_F(GpuLlama, GivesTheSameBitsWhenSumsAreCutInSlices) {
  const Steps steps{{piece(0, 30, false)}, {piece(30, 35, true)}};
  const Bits expected = run(model_, 1, steps).bits;
  auto options = small_options();
  options.gather_below = 9000;  // of five rows: the embedding is gathered, the others are cut
  for (const int world : {2, 3}) {
    const Ran ran = run(model_, world, steps, options);
    EXPECT_EQ(ran.bits, expected) << world << " ranks";
    EXPECT_GT(ran.exchanges, run(model_, world, steps).exchanges);
  }
}

TEST_F(GpuLlama, GivesTheSameBitsInChunksAndInCompany) {
  const Bits expected = run(model_, 1, whole()).bits;
  const Steps ones{{piece(0, 1, false)}, {piece(1, 3, false)}, {piece(3, 35, true)}};
  EXPECT_EQ(run(model_, 1, ones).bits, expected);
  const Steps chunks{{piece(0, 7, false)},
                     {company(0, 20, false), piece(7, 8, false)},
                     {piece(8, 30, false)},
                     {piece(30, 34, false)},
                     {piece(34, 35, true)}};
  EXPECT_EQ(run(model_, 1, chunks).bits, expected);
  EXPECT_EQ(run(model_, 2, chunks).bits, expected);
}

// 35 rows by the one kernel, pieces of fewer by the other.
TEST_F(GpuLlama, GivesTheSameBitsByWarpgroups) {
  auto options = small_options();
  options.warpgroups = true;
  const Bits expected = run(model_, 1, whole()).bits;
  EXPECT_EQ(run(model_, 1, whole(), options).bits, expected);
  EXPECT_EQ(run(model_, 2, {{piece(0, 33, false)}, {piece(33, 35, true)}}, options).bits, expected);
}

// As when a sequence is preempted and computed again.
TEST_F(GpuLlama, PrefillGivesTheBitsOfDecoding) {
  Steps decoding{{piece(0, 31, true)}};
  for (int i = 31; i < 35; ++i) decoding.push_back({piece(i, i + 1, true)});
  const Bits decoded = run(model_, 1, decoding).bits;
  for (const int end : {31, 32, 34, 35}) {
    const Bits again = run(model_, 1, {{piece(0, end, true)}}).bits;
    EXPECT_EQ(row_of(decoded, static_cast<std::size_t>(end - 31)), again) << end;
  }
}

TEST_F(GpuLlama, RecordedStepsHaveTheBitsOfOthers) {
  Steps steps{{piece(0, 29, true), company(0, 13, true)}};
  for (int i = 0; i < 4; ++i)
    steps.push_back({piece(29 + i, 30 + i, true), company(13 + i, 14 + i, true)});
  steps.push_back({piece(33, 34, true)});
  steps.push_back({piece(34, 35, true)});
  auto options = small_options();
  const Bits expected = run(model_, 1, steps).bits;
  options.max_recordings = 8;
  for (const int world : {1, 2}) {
    const Ran ran = run(model_, world, steps, options);
    EXPECT_EQ(ran.bits, expected) << world << " ranks";
    EXPECT_EQ(ran.recordings, 2);  // two rows, one row
  }
  options.max_recordings = 1;
  const Ran one = run(model_, 1, steps, options);
  EXPECT_EQ(one.bits, expected);
  EXPECT_EQ(one.recordings, 1);
}

// Few rows are summed in memory that ranks share, many by exchanges; recorded or not.
TEST_F(GpuLlama, KernelsThatExchangeByThemselvesGiveTheSameBits) {
  const Steps steps{
      {piece(0, 5, true), company(0, 3, true)}, {piece(5, 6, true), company(3, 4, true)},
      {piece(6, 7, true), company(4, 5, true)},                        // recorded, if anything is
      {piece(7, 8, true), company(5, 6, true)}, {piece(8, 9, false)},  // whose last sum nobody adds
      {piece(9, 10, true), company(6, 7, true)}};
  auto options = small_options();
  const Bits expected = run(model_, 1, steps, options).bits;
  const auto ran = [&](int world, std::optional<std::chrono::nanoseconds> peers) {
    // Up to four rows, or fewer where ranks have more segments than one.
    options.gather_below = 4 * 4 * world * model_.config.hidden_size;
    options.max_recordings = world == 2 ? 8 : 0;
    return run(model_, world, steps, options, kernels::cuda::Runs::once, false,
               kernels::cuda::Doing::at_once, peers);
  };
  for (const int world : {2, 3}) {
    const Ran by_kernels = ran(world, kAmple), by_exchanges = ran(world, std::nullopt);
    EXPECT_EQ(by_kernels.bits, expected) << world << " ranks";
    EXPECT_EQ(by_exchanges.bits, expected) << world << " ranks";
    EXPECT_EQ(by_kernels.recordings, world == 2 ? 1 : 0);
    EXPECT_LT(by_kernels.exchanges, by_exchanges.exchanges);
    EXPECT_GT(by_kernels.exchanges, 0);  // of the prompt
  }
}

// Runs `steps` on rank 0 of two, whose kernels wait for those of rank 1, which launches none.
template <class Steps>
void without_rank_1(const model::Model& model, kernels::cuda::Doing doing, const Steps& steps) {
  comm::spawn_ranks(2, std::chrono::seconds(120), [&](comm::Communicator& communicator) {
    const auto rank = static_cast<std::size_t>(communicator.rank());
    kernels::cuda::ExecutedGpu gpu(kernels::cuda::Runs::once, doing);
    ExecutedExchange exchange(gpu, communicator, std::chrono::milliseconds(100));
    GpuLlamaRunner runner(model.config,
                          load_gpu_weights(model, partition_model(model.config, 2)[rank], gpu),
                          small_options(), gpu, exchange);
    runner.allocate_cache(24);
    if (rank == 0) {
      EXPECT_THAT([&] { steps(runner, gpu); },
                  testing::ThrowsMessage<comm::CollectiveTimeout>(
                      testing::HasSubstr("rank 1 did not come to 'embedding' within 100 ms")));
    }
    communicator.barrier("end");
  });
}

TEST_F(GpuLlama, SaysInWhichLayerAKernelMissedARank) {
  without_rank_1(model_, kernels::cuda::Doing::at_once, [&](GpuLlamaRunner& runner, auto&) {
    runner.forward(std::vector{piece(0, 1, true)});
  });
}

// The first of two steps in line is waited for.
TEST_F(GpuLlama, SaysSoOfAStepBehindWhichTheNextIsInLine) {
  without_rank_1(model_, kernels::cuda::Doing::when_asked, [&](GpuLlamaRunner& runner, auto& gpu) {
    const auto done = gpu.make_mark();
    for (const int position : {0, 1}) {
      runner.begin(std::vector{piece(position, position + 1, true)});
      runner.launch();
      if (position == 0) done->set();
    }
    runner.wait(*done, "a step");
  });
}

// Of prompts that a GPU takes long for, two that nobody waits for in line before a third: whoever
// waits hears of every layer. Of shorter ones nobody hears before all three are done.
TEST_F(GpuLlama, TellsThatLongStepsGoOn) {
  auto config = small_config();
  config.num_hidden_layers = 4;
  const model::Model model = make_model(config);
  auto options = small_options();
  options.max_batch_tokens = 130;
  options.max_positions = 130;
  const auto tokens = some_tokens(130, 5);
  const std::vector<std::int32_t> blocks = {3, 4, 5, 6, 7, 8, 9, 10, 11};
  const auto prompts_of = [&](std::size_t rows) {
    const auto prompt = [&](bool logits) {
      return ForwardSequence{std::span(tokens).first(rows), 0, blocks, logits};
    };
    return run(model, 1, {{prompt(false)}, {prompt(false)}, {prompt(true)}}, options,
               kernels::cuda::Runs::once, false, kernels::cuda::Doing::when_asked);
  };
  const Ran long_steps = prompts_of(129), short_steps = prompts_of(128);
  EXPECT_EQ(long_steps.signs, 3 * 4);
  EXPECT_EQ(short_steps.signs, 0);
  EXPECT_GT(short_steps.longest_silence, 8 * long_steps.longest_silence);
}

// Five sequences beside a sixth without logits, so that nothing is padded; then alone, in steps of
// eight rows, over two chunks of positions; the second time recorded.
TEST_F(GpuLlama, PaddingChangesNoBits) {
  auto options = small_options();
  options.max_batch_tokens = 270;
  options.max_positions = 300;
  options.max_recordings = 8;
  const auto tokens = some_tokens(261, 5);
  std::vector<std::int32_t> blocks(17);
  std::iota(blocks.begin(), blocks.end(), 0);
  const std::int32_t own[5] = {17, 18, 19, 20, 21};
  const auto beginner = [&](std::size_t i, bool logits) {
    return ForwardSequence{std::span(tokens).subspan(i, 1), 0, std::span(own).subspan(i, 1),
                           logits};
  };
  const ForwardSequence prompt{std::span(tokens).first(260), 0, blocks, false};
  const ForwardSequence last{std::span(tokens).subspan(260), 260, blocks, true};
  const std::vector<ForwardSequence> decoding{last, beginner(0, true), beginner(1, true),
                                              beginner(2, true), beginner(3, true)};
  auto beside = decoding;
  beside.push_back(beginner(4, false));
  const Ran ran = run(model_, 1, {{prompt}, beside, decoding, decoding}, options);
  EXPECT_EQ(ran.recordings, 1);
  ASSERT_EQ(ran.bits.size(), 15u * kVocabulary);
  for (std::size_t row = 0; row < 5; ++row) {
    EXPECT_EQ(row_of(ran.bits, row + 5), row_of(ran.bits, row)) << row;
    EXPECT_EQ(row_of(ran.bits, row + 10), row_of(ran.bits, row)) << row;
  }
}

TEST_F(GpuLlama, AnE4m3CacheStaysNearTheModelAndInvariant) {
  auto options = small_options();
  options.kv_format = kernels::cuda::CacheFormat::e4m3;
  const Bits expected = run(model_, 1, whole(), options).bits;
  expect_near_the_model(expected, model_, 0.15);  // four bits of mantissa
  EXPECT_NE(expected, run(model_, 1, whole()).bits);
  EXPECT_EQ(run(model_, 2, {{piece(0, 9, false)}, {piece(9, 35, true)}}, options).bits, expected);
}

// As cublasLt would: whole granules of rows, and another order of summation than the own product's.
TEST_F(GpuLlama, MultipliesPlainWeightsWithTheSameBitsInAnyStep) {
  const auto ran = [](const model::Model& model, int world, const Steps& steps, int recordings) {
    auto options = small_options();
    options.max_recordings = recordings;
    return run(model, world, steps, options, kernels::cuda::Runs::once, true);
  };
  auto tied = small_config();
  tied.tie_word_embeddings = true;
  for (const model::Model& model : {make_model(small_config()), make_model(tied)}) {
    const Bits expected = ran(model, 1, whole(), 0).bits;
    expect_near_the_model(expected, model, 0.02);
    const Steps chunks{{piece(0, 7, false)},
                       {company(0, 20, false), piece(7, 30, false)},
                       {piece(30, 34, false)},
                       {piece(34, 35, true)}};
    for (const int world : {1, 2, 3}) {
      EXPECT_EQ(ran(model, world, chunks, 0).bits, expected) << world << " ranks";
    }
  }
  EXPECT_NE(ran(model_, 1, whole(), 0).bits, run(model_, 1, whole()).bits);
  Steps decoding{{piece(0, 31, true)}};
  for (int i = 31; i < 35; ++i) decoding.push_back({piece(i, i + 1, true)});
  const Ran recorded = ran(model_, 2, decoding, 4);
  EXPECT_EQ(recorded.recordings, 1);
  EXPECT_EQ(recorded.bits, ran(model_, 1, decoding, 0).bits);
}

// With FlashInfer's kernel read in double precision: its plan, its waves and its recordings.
TEST_F(GpuLlama, AttendsByFlashInferWithTheSameBitsInAnyStep) {
  auto options = small_options();
  options.attention = kernels::cuda::AttentionBackend::flashinfer;
  const Bits expected = run(model_, 1, whole(), options).bits;
  expect_near_the_model(expected, model_, 0.02);
  const Steps chunks{{piece(0, 7, false)},
                     {company(0, 20, false), piece(7, 8, false)},
                     {piece(8, 30, false)},
                     {piece(30, 34, false)},
                     {piece(34, 35, true)}};
  for (const int world : {1, 2, 3}) {
    EXPECT_EQ(run(model_, world, chunks, options).bits, expected) << world << " ranks";
  }
  EXPECT_THAT([&] { run(model_, 4, whole(), options); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("unequal numbers")));
  options.kv_format = kernels::cuda::CacheFormat::e4m3;
  EXPECT_EQ(run(model_, 1, chunks, options).bits, run(model_, 1, whole(), options).bits);
}

// With FA3's kernel read in double precision: its plan, and its recordings.
TEST_F(GpuLlama, AttendsByFa3WithTheSameBitsInAnyStep) {
  auto options = small_options();
  options.attention = kernels::cuda::AttentionBackend::fa3;
  const Bits expected = run(model_, 1, whole(), options).bits;
  expect_near_the_model(expected, model_, 0.02);
  EXPECT_NE(expected, run(model_, 1, whole()).bits);
  const Steps chunks{{piece(0, 7, false)},
                     {company(0, 20, false), piece(7, 8, false)},
                     {piece(8, 30, false)},
                     {piece(30, 34, false)},
                     {piece(34, 35, true)}};
  EXPECT_EQ(run(model_, 2, chunks, options).bits, expected);
  const std::int32_t third_block[] = {4};
  Steps decoding{{piece(0, 29, true), company(0, 13, true)}};
  for (int i = 0; i < 4; ++i) {  // three rows in steps of four
    decoding.push_back({piece(29 + i, 30 + i, true), company(13 + i, 14 + i, true),
                        ForwardSequence{std::span(tokens_).first(1), 0, third_block, true}});
  }
  const Bits decoded = run(model_, 1, decoding, options).bits;
  options.max_recordings = 4;
  const Ran recorded = run(model_, 1, decoding, options);
  EXPECT_EQ(recorded.bits, decoded);
  EXPECT_EQ(recorded.recordings, 1);
  EXPECT_THAT([&] { run(model_, 4, whole(), options); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("unequal numbers")));
}

// Three sequences in steps of four rows, recorded once and replayed with other lengths.
TEST_F(GpuLlama, RecordsAttentionByFlashInfer) {
  const auto third = some_tokens(9, 23);
  const std::int32_t third_blocks[] = {4};
  const auto alone = [&](int begin, int end) {
    return ForwardSequence{std::span(third).subspan(static_cast<std::size_t>(begin),
                                                    static_cast<std::size_t>(end - begin)),
                           begin, third_blocks, true};
  };
  Steps steps{{piece(0, 29, true), company(0, 13, true), alone(0, 2)}};
  for (int i = 0; i < 5; ++i) {
    steps.push_back(
        {piece(29 + i, 30 + i, true), company(13 + i, 14 + i, true), alone(2 + i, 3 + i)});
  }
  auto options = small_options();
  options.attention = kernels::cuda::AttentionBackend::flashinfer;
  const Bits expected = run(model_, 1, steps, options).bits;
  options.max_recordings = 8;
  const Ran recorded = run(model_, 1, steps, options);
  EXPECT_EQ(recorded.bits, expected);
  EXPECT_EQ(recorded.recordings, 1);
}

// And for the upload of the step before the last, with the ranks' deadline.
TEST_F(GpuLlama, WaitsOnlyForLogits) {
  const auto late = [&](const Steps& steps) {
    return run(model_, 1, steps, small_options(), kernels::cuda::Runs::once, false,
               kernels::cuda::Doing::when_asked);
  };
  const Steps steps{{piece(0, 9, false)}, {piece(9, 20, false)}, {piece(20, 21, true)}};
  EXPECT_EQ(late({steps[0], steps[1]}).waits, 0);
  const Ran ran = late(steps);
  EXPECT_EQ(ran.waits, 2);
  EXPECT_EQ(ran.bits, run(model_, 1, steps).bits);
  EXPECT_EQ(late({{piece(0, 9, false)}, {piece(9, 10, true)}, {piece(10, 11, true)}}).waits, 2);
}

TEST_F(GpuLlama, RefusesWhatIsBeyondItsLimits) {
  auto options = small_options();
  options.max_batch_tokens = 34;
  EXPECT_THAT([&] { run(model_, 1, whole(), options); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("a batch of 35 tokens")));
  options = small_options();
  options.max_positions = 34;
  EXPECT_THAT([&] { run(model_, 1, whole(), options); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("position 34 is beyond")));
}

TEST(PaddedRows, AreFewAndNeverMoreThanSevenTooMany) {
  EXPECT_THAT((std::vector{padded_rows(1, 64), padded_rows(3, 64), padded_rows(5, 64),
                           padded_rows(9, 64), padded_rows(62, 63), padded_rows(64, 64)}),
              testing::ElementsAre(1, 4, 8, 16, 63, 64));
}

}  // namespace
}  // namespace lockstep::shard

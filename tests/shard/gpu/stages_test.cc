// The GPU's forward pass cut in pipeline stages, on the executor: the bits of one rank alone.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <chrono>
#include <cmath>
#include <functional>
#include <mutex>
#include <numeric>
#include <optional>
#include <thread>
#include <zmq.hpp>

#include "comm/stage_link.h"
#include "shard/gpu/llama.h"
#include "shard/gpu/step_runner.h"
#include "shard/gpu/token_choice.h"
#include "shard/sampler.h"
#include "tests/shard/gpu/executed_exchange.h"
#include "tests/shard/gpu/random_weights.h"

namespace lockstep::shard {
namespace {

constexpr std::chrono::milliseconds kDeadline{120000};

using Steps = std::vector<std::vector<ForwardSequence>>;
using Bits = std::vector<std::uint32_t>;

struct Shape {
  int stages, tp;
};

// What each stage's rank 0 tells at its end.
struct StageFigures {
  std::int32_t recordings = 0;
  std::size_t weight_bytes = 0, block_bytes = 0;
  int waits = 0;
};

struct Ran {
  Bits bits;  // of all steps' logits, of the whole vocabulary
  std::vector<StageFigures> stages;
};

struct Way {
  GpuRunnerOptions options = {.block_size = 16,
                              .max_batch_tokens = 48,
                              .max_sequences = 12,
                              .max_positions = 128,
                              .max_recordings = 0};
  bool plain = false;
  kernels::cuda::Doing doing = kernels::cuda::Doing::at_once;
};

// One rank of a pipeline, with its links up.
struct Rank {
  const int stage;
  const Partition& part;
  comm::Communicator& ranks;  // of the stage
  kernels::cuda::ExecutedGpu& gpu;
  ExecutedExchange& exchange;
  GpuLlamaRunner& runner;
};

class Pipeline {
 public:
  using Body = std::function<void(const Rank&)>;
  Pipeline(const model::Model& model, Shape shape, const Way& way, Body body)
      : model_(model),
        shape_(shape),
        way_(way),
        layers_(pipeline_stages(model.config, shape.stages)),
        body_(std::move(body)) {}

  // Runs all ranks as threads. Throws what the first stage that failed has thrown.
  void run() {
    {
      std::vector<std::jthread> threads;
      for (int stage = 0; stage < shape_.stages; ++stage) {
        threads.emplace_back([this, stage] {
          try {
            comm::spawn_ranks(shape_.tp, kDeadline,
                              [this, stage](comm::Communicator& ranks) { run_rank(stage, ranks); });
          } catch (...) {
            const std::lock_guard lock(mutex_);
            if (!failure_) failure_ = std::current_exception();
          }
        });
      }
    }
    if (failure_) std::rethrow_exception(failure_);
  }

 private:
  comm::PlanBusAddress link(int stage, int rank) const {
    return {.endpoint = "inproc://" + std::to_string(stage) + "-" + std::to_string(rank),
            .epoch = 1,
            .token = "token"};
  }

  void run_rank(int stage, comm::Communicator& ranks) {
    const int rank = ranks.rank(), tp = shape_.tp;
    std::optional<comm::StageOutlet> next;
    std::optional<comm::StageInlet> previous;
    if (stage + 1 < shape_.stages) {
      next.emplace(context_, link(stage, rank),
                   comm::StagePeer{(stage + 1) * tp + rank, kDeadline});
    }
    if (stage > 0) {
      previous.emplace(context_, link(stage - 1, rank), stage * tp + rank,
                       comm::StagePeer{(stage - 1) * tp + rank, kDeadline}, 1 << 20);
    }
    if (next) next->wait_for_inlet();
    const PipelinePlace place{layers_[static_cast<std::size_t>(stage)],
                              previous ? &*previous : nullptr, next ? &*next : nullptr};
    const Partition part =
        partition_model(model_.config, tp, place.layers)[static_cast<std::size_t>(rank)];
    kernels::cuda::ExecutedGpu gpu(kernels::cuda::Runs::once, way_.doing);
    ExecutedExchange exchange(gpu, ranks);
    GpuLlamaRunner runner(
        model_.config,
        load_gpu_weights(model_, part, gpu, {.plain = way_.plain, .staging_bytes = 1 << 20}),
        way_.options, gpu, exchange, place);
    runner.allocate_cache(24);
    body_({stage, part, ranks, gpu, exchange, runner});
    ranks.barrier("end");
  }

  const model::Model& model_;
  const Shape shape_;
  const Way way_;
  const std::vector<Range> layers_;
  const Body body_;
  zmq::context_t context_;
  std::mutex mutex_;
  std::exception_ptr failure_;
};

Ran run(const model::Model& model, Shape shape, const Steps& steps, const Way& way = {}) {
  Ran ran;
  ran.stages.resize(static_cast<std::size_t>(shape.stages));
  // Of each rank of the last stage, by row.
  std::vector<std::vector<std::vector<float>>> all(static_cast<std::size_t>(shape.tp));
  Pipeline(model, shape, way, [&](const Rank& rank) {
    EXPECT_EQ(rank.runner.has_head(), rank.stage + 1 == shape.stages);
    const auto vocabulary = rank.runner.vocab_range();
    const auto range = static_cast<std::size_t>(vocabulary.end - vocabulary.begin);
    const auto number = static_cast<std::size_t>(rank.ranks.rank());
    for (const auto& batch : steps) {
      const auto logits = rank.runner.forward(batch);
      for (std::size_t first = 0; first < logits.size(); first += range) {
        const auto row = logits.subspan(first, range);
        all[number].emplace_back(row.begin(), row.end());
      }
    }
    if (number != 0) return;
    ran.stages[static_cast<std::size_t>(rank.stage)] = {
        rank.runner.recordings(), rank.runner.weight_bytes(),
        gpu_kv_block_bytes(model.config, rank.part, way.options.kv_format, way.options.block_size),
        rank.exchange.waits};
  }).run();
  for (std::size_t row = 0; row < all[0].size(); ++row) {
    for (const auto& rank : all) {
      for (const float value : rank[row]) ran.bits.push_back(std::bit_cast<std::uint32_t>(value));
    }
  }
  return ran;
}

model::ModelConfig three_layers(bool tied = false) {
  auto config = small_config();
  config.num_hidden_layers = 3;
  config.tie_word_embeddings = tied;
  return config;
}

class GpuStages : public testing::Test {
 protected:
  ForwardSequence piece(int begin, int end, bool logits) const {
    return of(tokens_, blocks_, begin, end, logits);
  }
  ForwardSequence company(int begin, int end, bool logits) const {
    return of(other_, other_blocks_, begin, end, logits);
  }
  ForwardSequence third(int begin, int end, bool logits) const {
    return of(third_, third_blocks_, begin, end, logits);
  }
  // A prompt in chunks beside another, then three sequences that decode, two of them in the end.
  Steps answers() const {
    Steps steps{{piece(0, 3, false)},
                {company(0, 3, true), piece(3, 17, false)},
                {third(0, 2, true), piece(17, 18, true)}};
    for (int i = 0; i < 3; ++i) {
      steps.push_back(
          {piece(18 + i, 19 + i, true), company(3 + i, 4 + i, true), third(2 + i, 3 + i, true)});
    }
    steps.push_back({company(6, 7, true), third(5, 6, true)});
    steps.push_back({company(7, 8, true), third(6, 7, true)});
    return steps;
  }

  const model::Model model_ = make_model(three_layers());

 private:
  static ForwardSequence of(const std::vector<std::int32_t>& tokens,
                            const std::vector<std::int32_t>& blocks, int begin, int end,
                            bool logits) {
    return {std::span(tokens).subspan(static_cast<std::size_t>(begin),
                                      static_cast<std::size_t>(end - begin)),
            begin, std::span(blocks).first(static_cast<std::size_t>((end + 15) / 16)), logits};
  }
  const std::vector<std::int32_t> tokens_ = some_tokens(35, 21), other_ = some_tokens(20, 22),
                                  third_ = some_tokens(9, 23);
  const std::vector<std::int32_t> blocks_{7, 2, 9}, other_blocks_{1, 5}, third_blocks_{4};
};

TEST_F(GpuStages, GiveTheBitsOfOneRank) {
  const Bits expected = run(model_, {1, 1}, answers()).bits;
  ASSERT_EQ(expected.size(), 16u * 107u);
  for (const Shape shape : {Shape{2, 1}, Shape{3, 1}, Shape{2, 2}}) {
    EXPECT_EQ(run(model_, shape, answers()).bits, expected)
        << shape.stages << " stages of " << shape.tp;
  }
}

// The first stage embeds by the matrix with which the last makes logits.
TEST_F(GpuStages, GiveTheBitsOfOneRankWithATiedHead) {
  const model::Model tied = make_model(three_layers(true));
  const Bits expected = run(tied, {1, 1}, answers()).bits;
  EXPECT_NE(expected, run(model_, {1, 1}, answers()).bits);
  for (const Shape shape : {Shape{2, 1}, Shape{3, 1}, Shape{2, 2}}) {
    EXPECT_EQ(run(tied, shape, answers()).bits, expected)
        << shape.stages << " stages of " << shape.tp;
  }
}

// Three rows in recordings of four, whose padding does not cross; and two.
TEST_F(GpuStages, RecordStepsEachForItself) {
  const Bits expected = run(model_, {1, 1}, answers()).bits;
  Way way;
  way.options.max_recordings = 8;
  for (const Shape shape : {Shape{2, 1}, Shape{3, 1}, Shape{2, 2}}) {
    const Ran ran = run(model_, shape, answers(), way);
    EXPECT_EQ(ran.bits, expected) << shape.stages << " stages of " << shape.tp;
    for (const StageFigures& stage : ran.stages) EXPECT_EQ(stage.recordings, 2);
  }
}

// Whose kernel reads, and multiplies by zero, what padding rows have stored.
TEST_F(GpuStages, AttendByFlashInferBesidePaddingRows) {
  Way way;
  way.options.attention = kernels::cuda::AttentionBackend::flashinfer;
  const Bits expected = run(model_, {1, 1}, answers(), way).bits;
  way.options.max_recordings = 8;
  for (const Shape shape : {Shape{2, 1}, Shape{3, 1}}) {
    EXPECT_EQ(run(model_, shape, answers(), way).bits, expected) << shape.stages << " stages";
  }
}

TEST_F(GpuStages, GiveTheBitsOfOneRankWithPlainWeightsAnE4m3CacheAndSlices) {
  Way way;
  way.plain = true;
  way.options.kv_format = kernels::cuda::CacheFormat::e4m3;
  way.options.gather_below = 9000;  // of five rows and more: sums are cut in slices
  const Bits expected = run(model_, {1, 1}, answers(), way).bits;
  EXPECT_NE(expected, run(model_, {1, 1}, answers()).bits);
  EXPECT_EQ(run(model_, {2, 2}, answers(), way).bits, expected);
  EXPECT_EQ(run(model_, {3, 1}, answers(), way).bits, expected);
}

TEST_F(GpuStages, ShareWeightsAndCacheOut) {
  const StageFigures whole = run(model_, {1, 1}, {}).stages[0];
  const auto stages = run(model_, {3, 1}, {}).stages;
  EXPECT_EQ(stages[0].weight_bytes + stages[1].weight_bytes + stages[2].weight_bytes,
            whole.weight_bytes);
  for (const StageFigures& stage : stages) {
    EXPECT_LT(stage.weight_bytes, whole.weight_bytes / 2);
    EXPECT_EQ(stage.block_bytes, whole.block_bytes / 3);
  }
}

// One wait a step for what goes on. The last stage waits for logits, and for the two buffers of the
// step before the last.
TEST_F(GpuStages, WaitForWhatTheySendAndForLogits) {
  const Steps chunks{{piece(0, 9, false)}, {piece(9, 20, false)}, {piece(20, 21, true)}};
  Way late;
  late.doing = kernels::cuda::Doing::when_asked;
  const auto stages = run(model_, {3, 1}, chunks, late).stages;
  EXPECT_EQ(stages[0].waits, 3);
  EXPECT_EQ(stages[1].waits, 3);
  EXPECT_EQ(stages[2].waits, 3);
}

// The stages that do not choose pass the step on, and say nothing.
TEST_F(GpuStages, ChooseTokensInTheLastStageAlone) {
  const std::vector<ForwardSequence> batch{piece(0, 5, true), company(0, 9, false),
                                           third(0, 2, true)};
  comm::SamplingParams greedy;
  greedy.temperature = 0.0f;
  const std::vector<SamplingInput> inputs{{.sequence_id = 1, .params = &greedy, .position = 5},
                                          {.sequence_id = 3, .params = &greedy, .position = 2}};
  const auto chosen = [&](Shape shape) {
    std::vector<std::vector<std::int32_t>> tokens(static_cast<std::size_t>(shape.stages));
    Way way;
    const GpuChoiceOptions choice_options{.max_sequences = way.options.max_sequences,
                                          .most_listed = 100};
    way.options.sampling_bytes = GpuTokenChoice::upload_bytes(choice_options, shape.tp);
    Pipeline(model_, shape, way, [&](const Rank& rank) {
      StepTimes times(rank.ranks);
      Sampler sampler(rank.ranks, rank.runner.vocab_range(),
                      std::vector{rank.runner.vocab_range()});
      GpuTokenChoice choice(rank.runner, choice_options, rank.gpu, rank.exchange, sampler);
      GpuStepRunner steps(rank.runner, choice, times);
      for (const comm::SampledToken& token : steps.run(batch, inputs).sampled) {
        tokens[static_cast<std::size_t>(rank.stage)].push_back(token.token_id);
      }
    }).run();
    return tokens;
  };
  const auto one = chosen({1, 1});
  ASSERT_EQ(one[0].size(), 2u);
  EXPECT_EQ(chosen({3, 1}), (std::vector<std::vector<std::int32_t>>{{}, {}, one[0]}));
}

// Three rows in a step of four. What padding rows store in their block, attention by FlashInfer
// multiplies by zero: they must be numbers from the first step on.
TEST_F(GpuStages, PaddingRowsOfALaterStageAreNumbers) {
  const std::vector<ForwardSequence> batch{piece(0, 1, true), company(0, 1, true),
                                           third(0, 1, true)};
  Way way;
  way.options.max_recordings = 8;
  int looked_at = 0;
  Pipeline(model_, {2, 1}, way, [&](const Rank& rank) {
    rank.runner.begin(batch);
    const GpuLogits logits = rank.runner.launch();
    if (!rank.runner.has_head()) return;
    rank.runner.wait("a step");
    ASSERT_EQ(logits.rows, 3);
    for (int token = 0; token < 107; ++token, ++looked_at) {
      EXPECT_TRUE(std::isfinite(logits.values[3 * logits.stride + token])) << token;
    }
  }).run();
  EXPECT_EQ(looked_at, 107);
}

TEST_F(GpuStages, RefuseLayersThatDoNotSuitTheNeighbours) {
  kernels::cuda::ExecutedGpu gpu(kernels::cuda::Runs::once);
  NoExchange exchange(gpu);
  const auto make = [&](Range weights, Range layers) {
    const Partition part = partition_model(model_.config, 1, weights)[0];
    GpuLlamaRunner runner(model_.config, load_gpu_weights(model_, part, gpu), Way{}.options, gpu,
                          exchange, {layers, nullptr, nullptr});
  };
  EXPECT_THAT(
      [&] {
        make({0, 2}, {0, 2});
      },
      testing::ThrowsMessage<Error>(testing::HasSubstr("does not suit its neighbours")));
  EXPECT_THAT(
      [&] {
        make({1, 3}, {1, 3});
      },
      testing::ThrowsMessage<Error>(testing::HasSubstr("does not suit its neighbours")));
  EXPECT_THAT(
      [&] {
        make({0, 2}, {0, 3});
      },
      testing::ThrowsMessage<Error>(testing::HasSubstr("weights of 2 layers")));
}

}  // namespace
}  // namespace lockstep::shard

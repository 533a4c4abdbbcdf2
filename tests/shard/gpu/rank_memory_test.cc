// What is told of a rank's GPU, against what really loaded ranks take of the executor's memory.
#include "shard/gpu/rank_memory.h"

#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <ostream>
#include <zmq.hpp>

#include "comm/stage_link.h"
#include "shard/gpu/llama.h"
#include "shard/gpu/token_choice.h"
#include "shard/memory_plan.h"
#include "shard/sampler.h"
#include "tests/shard/gpu/executed_exchange.h"
#include "tests/shard/zero_tensors.h"

namespace lockstep::shard {
namespace {

using kernels::cuda::AttentionBackend;
using kernels::cuda::CacheFormat;

StepSizes sizes_with(AttentionBackend attention, bool peers, CacheFormat cache,
                     bool windows = false) {
  return {.block_size = 32,
          .max_batch_tokens = 70,
          .max_sequences = 9,
          .max_positions = 1500,
          .gpu_cache = cache,
          .gpu_attention = attention,
          .gpu_exchange = {.peers = peers, .windows = windows}};
}

struct Case {
  const char* name;
  int world = 1;
  int stages = 1;
  bool tied = false;
  Stored stored = Stored::mixed;
  bool fp8 = false;  // weights that are quantized while they are loaded
  StepSizes sizes = sizes_with(AttentionBackend::own, false, CacheFormat::bf16);
};

void PrintTo(const Case& kase, std::ostream* out) { *out << kase.name; }

// What all ranks of the case are told to take.
std::vector<RankMemory> told(const model::Model& model, const Case& kase) {
  const ModelShape stored{.config = model.config, .format = [&](const std::string& name) {
                            return matrix_format(*model.tensors->find(name));
                          }};
  return rank_memory(kase.fp8 ? in_format(stored, MatrixFormat::fp8) : stored, Device::cuda,
                     kase.world, kase.stages, kase.sizes);
}

class GpuRankMemoryOf : public testing::TestWithParam<Case> {
 protected:
  static void expect_of(const model::Model& model, const Case& kase, const PipelinePlace& place,
                        comm::Communicator& ranks, const RankMemory& told) {
    constexpr std::int32_t kBlocks = 5;
    SCOPED_TRACE("rank " + std::to_string(ranks.rank()));
    kernels::cuda::ExecutedGpu gpu(kernels::cuda::Runs::once);
    ExecutedExchange exchange(
        gpu, ranks,
        kase.sizes.gpu_exchange.peers ? std::optional(std::chrono::nanoseconds(1)) : std::nullopt);
    exchange.windows = kase.sizes.gpu_exchange.windows;
    const auto parts = partition_model(model.config, kase.world, place.layers);
    const Partition& part = parts[static_cast<std::size_t>(ranks.rank())];
    GpuWeights weights = load_gpu_weights(model, part, gpu, {.fp8 = kase.fp8});
    EXPECT_EQ(told.weights, weights.bytes());
    GpuLlamaRunner runner(model.config, std::move(weights),
                          gpu_options(model.config, kase.world, kase.sizes, place.next == nullptr),
                          gpu, exchange, place);
    Sampler sampler(ranks, runner.vocab_range(), runner.vocab_ranges());
    const GpuTokenChoice choice(runner, gpu_choice_options(kase.sizes), gpu, exchange, sampler);
    runner.allocate_cache(kBlocks);
    EXPECT_EQ(told.weights + told.activations + kBlocks * told.kv_block,
              gpu.memory().ledger().used())
        << gpu.memory().ledger().table();
    EXPECT_EQ(told.shared, 0u);
    ranks.barrier("end");
  }
};

TEST_P(GpuRankMemoryOf, EveryRankIsWhatItsRunnerTakes) {
  constexpr std::chrono::milliseconds kDeadline{60000};
  const Case& kase = GetParam();
  const model::Model model = zero_model(kase.tied, kase.stored);
  const auto expected = told(model, kase);
  ASSERT_EQ(std::ssize(expected), kase.world * kase.stages);
  // The links of stages, over which nothing goes here.
  zmq::context_t context;
  const comm::PlanBusAddress link{.endpoint = "inproc://link", .epoch = 1, .token = "token"};
  comm::StageOutlet out(context, link, {1, kDeadline});
  comm::StageInlet in(context, link, 1, {0, kDeadline}, 1 << 20);
  const auto layers = pipeline_stages(model.config, kase.stages);
  for (int stage = 0; stage < kase.stages; ++stage) {
    SCOPED_TRACE("stage " + std::to_string(stage));
    const PipelinePlace place{layers[static_cast<std::size_t>(stage)], stage > 0 ? &in : nullptr,
                              stage + 1 < kase.stages ? &out : nullptr};
    comm::spawn_ranks(kase.world, kDeadline, [&](comm::Communicator& ranks) {
      expect_of(model, kase, place, ranks,
                expected[static_cast<std::size_t>(stage * kase.world + ranks.rank())]);
    });
  }
}

constexpr AttentionBackend kOwn = AttentionBackend::own, kFlash = AttentionBackend::flashinfer;

INSTANTIATE_TEST_SUITE_P(
    Worlds, GpuRankMemoryOf,
    testing::Values(Case{.name = "One"}, Case{.name = "OneTied", .tied = true},
                    Case{.name = "Two", .world = 2},
                    Case{.name = "TwoWithPeers",
                         .world = 2,
                         .sizes = sizes_with(kOwn, true, CacheFormat::bf16)},
                    Case{.name = "TwoWithWindows",
                         .world = 2,
                         .sizes = sizes_with(kOwn, false, CacheFormat::bf16, true)},
                    Case{.name = "ThreeWithAnE4m3Cache",
                         .world = 3,
                         .tied = true,
                         .sizes = sizes_with(kOwn, true, CacheFormat::e4m3)},
                    Case{.name = "OneQuantized", .stored = Stored::bf16, .fp8 = true},
                    Case{.name = "TwoQuantized", .world = 2, .stored = Stored::bf16, .fp8 = true},
                    Case{.name = "OneInE4m3Blocks", .stored = Stored::e4m3_blocks},
                    Case{.name = "ThreeInE4m3Blocks", .world = 3, .stored = Stored::e4m3_blocks},
                    Case{.name = "TwoStages", .stages = 2},
                    Case{.name = "TwoStagesTied", .world = 2, .stages = 2, .tied = true}),
    [](const auto& info) { return info.param.name; });

// FlashInfer's parts and plans, and FA3's; as many query heads to every key-value head.
TEST_F(GpuRankMemoryOf, FlashInferAndFa3AreWhatTheirRunnersTake) {
  model::Model model = zero_model(false);
  model.config.head_dim = 128;
  model.config.num_attention_heads = 4;
  model.config.num_key_value_heads = 2;
  model.tensors = std::make_unique<ZeroTensors>(model.config);
  for (const auto& [world, attention] :
       {std::pair{1, kFlash}, {2, kFlash}, {1, AttentionBackend::fa3}}) {
    const Case kase{.name = "FlashInfer or FA3",
                    .world = world,
                    .sizes = sizes_with(attention, true, CacheFormat::bf16)};
    const auto expected = told(model, kase);
    comm::spawn_ranks(world, std::chrono::seconds(60), [&](comm::Communicator& ranks) {
      expect_of(model, kase, {{0, 2}, nullptr, nullptr}, ranks,
                expected[static_cast<std::size_t>(ranks.rank())]);
    });
  }
}

TEST(GpuRankMemory, RefusesASplitThatAttentionDoesNotServe) {
  const ModelShape shape{.config = uneven_config(false),  // 10 query heads, 5 key-value heads
                         .format = [](const std::string&) { return MatrixFormat::bf16; }};
  auto sizes = sizes_with(AttentionBackend::automatic, true, CacheFormat::bf16);
  EXPECT_TRUE(gpu_attends(shape.config, 3, sizes));  // by the own kernel
  ModelShape wide = shape;
  wide.config.head_dim = 64;
  wide.config.num_attention_heads = 16;
  wide.config.num_key_value_heads = 8;
  wide.config.intermediate_size = 2048;
  wide.config.vocab_size = 1000;
  EXPECT_TRUE(gpu_attends(wide.config, 3, sizes));
  // A key-value head's two queries on one rank, and another's on two.
  EXPECT_FALSE(gpu_attends(wide.config, 12, sizes));
  EXPECT_THROW(rank_memory(wide, Device::cuda, 12, 1, sizes), Error);
  sizes.gpu_attention = kOwn;
  EXPECT_TRUE(gpu_attends(wide.config, 12, sizes));
  EXPECT_EQ(rank_memory(wide, Device::cuda, 12, 1, sizes).size(), 12u);
}

}  // namespace
}  // namespace lockstep::shard

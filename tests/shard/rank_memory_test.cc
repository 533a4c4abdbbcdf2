// What is told of a rank's memory, against what really loaded ranks have.
#include "shard/rank_memory.h"

#include <gtest/gtest.h>

#include <mutex>

#include "base/error.h"
#include "comm/communicator.h"
#include "shard/llama.h"
#include "tests/shard/halved_tree.h"
#include "tests/shard/zero_tensors.h"

namespace lockstep::shard {
namespace {

struct Case {
  int world;
  bool tied;
};

class RankMemoryOf : public testing::TestWithParam<Case> {};

TEST_P(RankMemoryOf, EveryRankIsWhatItsRunnerTakes) {
  const auto [world, tied] = GetParam();
  const model::Model model = zero_model(tied);
  const RunnerOptions options{.block_size = 32,
                              .num_blocks = 5,
                              .max_batch_tokens = 70,
                              .max_logits = 9,
                              .max_positions = 1500};
  constexpr int kThreads = 3;
  const ModelShape shape{.config = model.config, .format = [&](const std::string& name) {
                           return matrix_format(*model.tensors->find(name));
                         }};
  const auto expected = rank_memory(shape, Device::cpu, world, 1,
                                    {.block_size = options.block_size,
                                     .max_batch_tokens = options.max_batch_tokens,
                                     .max_logits = options.max_logits,
                                     .max_positions = options.max_positions,
                                     .threads = kThreads,
                                     .shared_sums = true});
  ASSERT_EQ(std::ssize(expected), world);
  std::mutex mutex;
  comm::spawn_ranks(world, std::chrono::seconds(20), [&](comm::Communicator& communicator) {
    kernels::ThreadPool pool(kThreads);
    StepTimes times(communicator, nullptr);
    const LlamaRunner runner(model, options, communicator, pool,
                             kernels::kernel_table(kernels::CpuFamily::scalar), times);
    const std::lock_guard lock(mutex);
    const auto& rank = expected[static_cast<std::size_t>(communicator.rank())];
    EXPECT_EQ(rank.weights, runner.weight_bytes()) << "rank " << communicator.rank();
    EXPECT_EQ(rank.activations, runner.activation_bytes().own) << "rank " << communicator.rank();
    EXPECT_EQ(rank.shared, runner.activation_bytes().shared);
    EXPECT_EQ(runner.sums_in_place(), world > 1);
  });
}

INSTANTIATE_TEST_SUITE_P(Worlds, RankMemoryOf,
                         testing::Values(Case{1, false}, Case{1, true}, Case{2, false},
                                         Case{3, false}, Case{3, true}));

// The sums of ranks that share no memory lie in buffers of their own.
TEST(RankMemory, OfRanksOnSeveralHostsHasTheCopiesOfTheirSums) {
  const LaneTree tree = halved_tree(5, 2);
  const std::vector<Range> runs{{0, 4}, {4, 10}};
  // Five groups are halved into (0 1 2) and (3 4), the left half into (0 1) and (2): the lanes 0 to
  // 3 are one subtree of it, 4 to 9 the two others. Own segments, those of all three, and the
  // slices.
  EXPECT_EQ(LaneReducer::memory(tree, runs, 0, 1000, false).own, (1u + 3u + 1u) * 4000u);
  EXPECT_EQ(LaneReducer::memory(tree, runs, 1, 1000, false).own, (2u + 3u + 2u) * 4000u);
}

TEST(RankMemory, OfAPipelineGivesTheEmbeddingToTheFirstAndTheHeadToTheLastRun) {
  const ModelShape shape{.config = uneven_config(false),
                         .format = [](const std::string&) { return MatrixFormat::bf16; }};
  const StepSizes sizes{.max_positions = 1024};
  const auto whole = rank_memory(shape, Device::cuda, 1, 1, sizes);
  const auto runs = rank_memory(shape, Device::cuda, 1, 2, sizes);
  ASSERT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs[0].weights + runs[1].weights, whole[0].weights);
  EXPECT_EQ(runs[1].weights - runs[0].weights, 96u * 4u);  // the final norm
  EXPECT_EQ(runs[0].kv_block, whole[0].kv_block / 2);
  EXPECT_THROW(rank_memory(shape, Device::cuda, 1, 3, sizes), Error);
}

TEST(RankMemory, OfAMatrixIsItsRowsInTheFormatOfItsDevice) {
  // 20 rows of 64 columns. The CPU pads to 32 rows.
  EXPECT_EQ(matrix_bytes(Device::cpu, MatrixFormat::bf16, 20, 64), 32u * 64u * 2u);
  EXPECT_EQ(matrix_bytes(Device::cpu, MatrixFormat::q4, 20, 64), 32u * 2u * 20u);
  EXPECT_EQ(matrix_bytes(Device::cpu, MatrixFormat::q4_0, 20, 64), 32u * 2u * 18u);
  EXPECT_EQ(matrix_bytes(Device::cpu, MatrixFormat::int8, 20, 64), 32u * 2u * 34u);
  // CUDA pads to 24 rows in bf16, to 32 in eight and four bits.
  for (const MatrixFormat format : {MatrixFormat::bf16, MatrixFormat::f16, MatrixFormat::f32}) {
    EXPECT_EQ(matrix_bytes(Device::cuda, format, 20, 64), 24u * 64u * 2u);
  }
  EXPECT_EQ(matrix_bytes(Device::cuda, MatrixFormat::fp8, 20, 64), 32u * (64u + 4u));
  EXPECT_EQ(matrix_bytes(Device::cuda, MatrixFormat::int8, 20, 64), 32u * (64u + 4u));
  EXPECT_EQ(matrix_bytes(Device::cuda, MatrixFormat::q8, 20, 64), 32u * 2u * 34u);
  for (const MatrixFormat format : {MatrixFormat::q4, MatrixFormat::q4_0}) {
    EXPECT_EQ(matrix_bytes(Device::cuda, format, 20, 64), 32u * 2u * 20u);
  }
  // e4m3 on the CPU: 32 bytes and a scale of 4 for a group.
  EXPECT_EQ(matrix_bytes(Device::cpu, MatrixFormat::fp8, 20, 64), 32u * 2u * 36u);
  EXPECT_EQ(matrix_bytes(Device::cpu, MatrixFormat::fp8_block, 20, 64), 32u * 2u * 36u);
  // On CUDA a scale for every group of eight rows, two a tile of 16.
  EXPECT_EQ(matrix_bytes(Device::cuda, MatrixFormat::fp8_block, 40, 64), 48u * 64u + 6u * 2u * 4u);
}

}  // namespace
}  // namespace lockstep::shard

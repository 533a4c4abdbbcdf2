// What is told of a rank's memory, against what really loaded ranks have.
#include "shard/rank_memory.h"

#include <gtest/gtest.h>

#include <array>
#include <map>
#include <mutex>

#include "base/error.h"
#include "comm/communicator.h"
#include "shard/llama.h"

namespace lockstep::shard {
namespace {

using kernels::DType;

// Zeros of many storage types, under Hugging Face names.
class ZeroTensors final : public model::TensorSource {
 public:
  explicit ZeroTensors(const model::ModelConfig& config) {
    const auto hidden = config.hidden_size, inner = config.intermediate_size;
    const auto q = config.num_attention_heads * config.head_dim;
    const auto kv = config.num_key_value_heads * config.head_dim;
    add("model.embed_tokens.weight", DType::q8_0, {config.vocab_size, hidden});
    if (!config.tie_word_embeddings) {
      add("lm_head.weight", DType::f16, {config.vocab_size, hidden});
    }
    add("model.norm.weight", DType::f32, {hidden});
    for (std::int64_t i = 0; i < config.num_hidden_layers; ++i) {
      const std::string scope = "model.layers." + std::to_string(i) + ".";
      add(scope + "input_layernorm.weight", DType::f32, {hidden});
      add(scope + "post_attention_layernorm.weight", DType::bf16, {hidden});
      add(scope + "self_attn.q_proj.weight", DType::q4_0, {q, hidden});
      add(scope + "self_attn.k_proj.weight", i == 0 ? DType::bf16 : DType::e4m3, {kv, hidden});
      add(scope + "self_attn.v_proj.weight", i == 0 ? DType::f32 : DType::i8, {kv, hidden});
      add(scope + "self_attn.o_proj.weight", DType::q4_1, {hidden, q});
      add(scope + "mlp.gate_proj.weight", DType::q4_1, {inner, hidden});
      // Interleaved with gate in the first layer, beside it in the others.
      add(scope + "mlp.up_proj.weight", i == 0 ? DType::q4_1 : DType::q8_0, {inner, hidden});
      add(scope + "mlp.down_proj.weight", DType::q8_0, {hidden, inner});
    }
  }

  const model::Tensor* find(std::string_view name) const override {
    const auto at = tensors_.find(name);
    return at == tensors_.end() ? nullptr : &at->second;
  }
  const std::string& path() const override { return path_; }
  void release(const model::Tensor&) const override {}

 private:
  void add(const std::string& name, DType type, std::vector<std::int64_t> shape) {
    std::size_t values = 1;
    for (const auto size : shape) values *= static_cast<std::size_t>(size);
    auto& bytes = storage_[name];
    bytes.resize(values / kernels::block_values(type) * kernels::block_bytes(type));
    tensors_[name] = {name, type, std::move(shape), bytes, false};
    // One scale, of i8 and e4m3.
    tensors_[name].scales = std::as_bytes(std::span(scale_));
    tensors_[name].scale_rows = tensors_[name].rows();
    tensors_[name].scale_columns = tensors_[name].columns();
  }

  const std::array<float, 1> scale_{1.0f};
  const std::string path_ = "zeros";
  std::map<std::string, std::vector<std::byte>> storage_;
  std::map<std::string, model::Tensor, std::less<>> tensors_;
};

// Nothing of it divides evenly by two or three ranks.
model::ModelConfig uneven_config(bool tied) {
  model::ModelConfig config;
  config.family = "llama";
  config.hidden_size = 96;
  config.intermediate_size = 416;
  config.num_hidden_layers = 2;
  config.num_attention_heads = 10;
  config.num_key_value_heads = 5;
  config.head_dim = 32;
  config.vocab_size = 107;
  config.max_position_embeddings = 2048;
  config.tie_word_embeddings = tied;
  return config;
}

struct Case {
  int world;
  bool tied;
};

class RankMemoryOf : public testing::TestWithParam<Case> {};

TEST_P(RankMemoryOf, EveryRankIsWhatItsRunnerTakes) {
  const auto [world, tied] = GetParam();
  model::Model model;
  model.path = "zeros";
  model.config = uneven_config(tied);
  model.tensors = std::make_unique<ZeroTensors>(model.config);
  const RunnerOptions options{.block_size = 32,
                              .num_blocks = 5,
                              .max_batch_tokens = 70,
                              .max_sequences = 9,
                              .max_positions = 1500};
  constexpr int kThreads = 3;
  const ModelShape shape{
      .config = model.config, .attention_bias = false, .format = [&](const std::string& name) {
        return matrix_format(*model.tensors->find(name));
      }};
  const auto expected = rank_memory(shape, Device::cpu, world, 1,
                                    {.block_size = options.block_size,
                                     .max_batch_tokens = options.max_batch_tokens,
                                     .max_sequences = options.max_sequences,
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
  const LaneTree tree(5, 2);
  const std::vector<Range> runs{{0, 4}, {4, 10}};
  // Five groups are halved into (0 1 2) and (3 4), the left half into (0 1) and (2): the lanes 0 to
  // 3 are one subtree of it, 4 to 9 the two others. Own segments, those of all three, and the
  // slices.
  EXPECT_EQ(LaneReducer::memory(tree, runs, 0, 1000, false).own, (1u + 3u + 1u) * 4000u);
  EXPECT_EQ(LaneReducer::memory(tree, runs, 1, 1000, false).own, (2u + 3u + 2u) * 4000u);
}

TEST(RankMemory, OfAPipelineGivesTheEmbeddingToTheFirstAndTheHeadToTheLastRun) {
  const ModelShape shape{.config = uneven_config(false),
                         .attention_bias = false,
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
  EXPECT_EQ(matrix_bytes(Device::cpu, MatrixFormat::int8, 20, 64), 32u * 2u * 34u);
  EXPECT_EQ(matrix_bytes(Device::cuda, MatrixFormat::bf16, 20, 64), 20u * 64u * 2u);
  EXPECT_EQ(matrix_bytes(Device::cuda, MatrixFormat::f32, 20, 64), 20u * 64u * 4u);
  EXPECT_EQ(matrix_bytes(Device::cuda, MatrixFormat::fp8, 20, 64), 20u * (64u + 4u));
  EXPECT_EQ(matrix_bytes(Device::cuda, MatrixFormat::int8, 20, 64), 20u * (64u + 4u));
  EXPECT_EQ(matrix_bytes(Device::cuda, MatrixFormat::q8, 20, 64), 20u * 2u * 34u);
  EXPECT_EQ(matrix_bytes(Device::cuda, MatrixFormat::q4, 20, 64), 20u * 2u * 20u);
  // e4m3 on the CPU: 32 bytes and a scale of 4 for a group.
  EXPECT_EQ(matrix_bytes(Device::cpu, MatrixFormat::fp8, 20, 64), 32u * 2u * 36u);
  EXPECT_EQ(matrix_bytes(Device::cpu, MatrixFormat::fp8_block, 20, 64), 32u * 2u * 36u);
  // On CUDA a scale for every group of 16 rows.
  EXPECT_EQ(matrix_bytes(Device::cuda, MatrixFormat::fp8_block, 48, 64), 48u * 64u + 3u * 2u * 4u);
}

}  // namespace
}  // namespace lockstep::shard

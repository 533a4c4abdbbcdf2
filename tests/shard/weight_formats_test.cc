// A model in every storage format gives the same bits at every world size, whatever is cut.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <random>

#include "shard/gpu/llama.h"
#include "shard/llama.h"
#include "tests/kernels/random_matrix.h"
#include "tests/shard/gpu/executed_exchange.h"

namespace lockstep::shard {
namespace {

using kernels::DType;

// 8 heads of 32 on 4 key-value heads, 24 groups of 32 in the MLP: two and three ranks cut
// superblocks of 256 columns, and gptq's and awq's groups of 64, at multiples of 32 inside.
model::ModelConfig small_config() {
  model::ModelConfig config;
  config.family = "llama";
  config.hidden_size = 256;
  config.intermediate_size = 768;
  config.num_hidden_layers = 1;
  config.num_attention_heads = 8;
  config.num_key_value_heads = 4;
  config.head_dim = 32;
  config.vocab_size = 104;
  config.max_position_embeddings = 256;
  return config;
}

// Random weights in memory: projections of one format, or in turn of several; norms in f32.
class FormattedTensors final : public model::TensorSource {
 public:
  FormattedTensors(const model::ModelConfig& config, DType outer, std::vector<DType> projections)
      : projections_(std::move(projections)) {
    const auto hidden = config.hidden_size, inner = config.intermediate_size;
    const auto q = config.num_attention_heads * config.head_dim;
    const auto kv = config.num_key_value_heads * config.head_dim;
    add("model.embed_tokens.weight", outer, config.vocab_size, hidden);
    add("lm_head.weight", outer, config.vocab_size, hidden);
    add_norm("model.norm.weight", hidden);
    const std::string scope = "model.layers.0.";
    add_norm(scope + "input_layernorm.weight", hidden);
    add_norm(scope + "post_attention_layernorm.weight", hidden);
    add_projection(scope + "self_attn.q_proj.weight", q, hidden);
    add_projection(scope + "self_attn.k_proj.weight", kv, hidden);
    add_projection(scope + "self_attn.v_proj.weight", kv, hidden);
    add_projection(scope + "self_attn.o_proj.weight", hidden, q);
    add_projection(scope + "mlp.gate_proj.weight", inner, hidden);
    add_projection(scope + "mlp.up_proj.weight", inner, hidden);
    add_projection(scope + "mlp.down_proj.weight", hidden, inner);
  }

  const model::Tensor* find(std::string_view name) const override {
    const auto at = tensors_.find(name);
    return at == tensors_.end() ? nullptr : &at->second;
  }
  const std::string& path() const override { return path_; }
  void release(const model::Tensor&) const override {}

 private:
  void add_projection(const std::string& name, std::int64_t rows, std::int64_t columns) {
    add(name, projections_[next_++ % projections_.size()], rows, columns);
  }
  void add_norm(const std::string& name, std::int64_t size) {
    add(name, DType::f32, 8, size / 8);
    tensors_.at(name).shape = {size};
  }
  void add(const std::string& name, DType type, std::int64_t rows, std::int64_t columns) {
    const float spread = type == DType::f32 ? 1.0f : 0.02f;
    const auto& matrix =
        matrices_.emplace(name, kernels::MatrixWriter(random_).matrix(type, rows, columns, spread))
            .first->second;
    tensors_[name] = {.name = name,
                      .dtype = type,
                      .shape = {rows, columns},
                      .data = matrix.bytes,
                      .scales = matrix.scales,
                      .zeros = matrix.zeros,
                      .group_size = matrix.group_size,
                      .zero_offset = matrix.zero_offset};
  }

  std::vector<DType> projections_;
  std::size_t next_ = 0;
  std::mt19937 random_{41};
  std::string path_ = "random";
  std::map<std::string, kernels::RandomMatrix, std::less<>> matrices_;
  std::map<std::string, model::Tensor, std::less<>> tensors_;
};

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
};

class WeightFormats : public testing::TestWithParam<Formats> {};

TEST_P(WeightFormats, GiveTheSameBitsAtEveryWorldSize) {
  model::Model model;
  model.path = "random";
  model.config = small_config();
  model.tensors =
      std::make_unique<FormattedTensors>(model.config, GetParam().outer, GetParam().projections);
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
        Formats{"q4_k_m", DType::q6_k, {DType::q4_k, DType::q4_k, DType::q6_k}},
        Formats{"gptq", DType::f16, {DType::gptq}}, Formats{"awq", DType::bf16, {DType::awq}}),
    [](const auto& info) { return info.param.name; });

// The logits of the last of some tokens on executors in the place of GPUs, and on the CPU with the
// same activations.
std::vector<float> few_logits(const model::Model& model, int world, bool on_gpu,
                              const GpuLoadOptions& options = {}) {
  const std::vector<std::int32_t> tokens{29, 5, 71};
  const std::int32_t blocks[]{2};
  const ForwardSequence sequence{tokens, 0, blocks, true};
  std::vector<std::vector<float>> parts(static_cast<std::size_t>(world));
  comm::spawn_ranks(world, std::chrono::seconds(60), [&](comm::Communicator& communicator) {
    const auto rank = static_cast<std::size_t>(communicator.rank());
    const auto keep = [&](std::span<const float> part) {
      parts[rank].assign(part.begin(), part.end());
    };
    if (on_gpu) {
      kernels::cuda::ExecutedGpu gpu(kernels::cuda::Runs::once);
      ExecutedExchange exchange(gpu, communicator);
      GpuLlamaRunner runner(
          model.config,
          load_gpu_weights(model, partition_model(model.config, world)[rank], gpu, options),
          {.max_batch_tokens = 8, .max_sequences = 2, .max_positions = 16}, gpu, exchange);
      runner.allocate_cache(4);
      keep(runner.forward({&sequence, 1}));
      communicator.barrier("end");
    } else {
      kernels::ThreadPool pool(1);
      StepTimes times(communicator);
      LlamaRunner runner(model,
                         {.num_blocks = 4,
                          .max_batch_tokens = 8,
                          .max_positions = 16,
                          .activations = ActivationChoice(kernels::ActivationFormat::bf16)},
                         communicator, pool,
                         kernels::kernel_table(kernels::supported_families().back()), times);
      keep(runner.forward({&sequence, 1}));
    }
  });
  std::vector<float> all;
  for (const auto& part : parts) all.insert(all.end(), part.begin(), part.end());
  return all;
}

std::vector<std::byte> loaded(const model::Model& model, const GpuLoadOptions& options) {
  kernels::cuda::ExecutedGpu gpu(kernels::cuda::Runs::once);
  const GpuWeights weights =
      load_gpu_weights(model, partition_model(model.config, 3)[1], gpu, options);
  EXPECT_EQ(gpu.pinned_memory().ledger().used(), 0u);
  EXPECT_EQ(gpu.pinned_memory().ledger().peak(), 2 * options.staging_bytes);
  std::vector<std::byte> bytes;
  const auto add = [&](const kernels::device::Allocation& memory) {
    const auto* first = static_cast<const std::byte*>(memory.data());
    bytes.insert(bytes.end(), first, first + memory.size());
  };
  for (const GpuMatrix* matrix :
       {&weights.embedding, &weights.head, &weights.layers[0].o, &weights.layers[0].down,
        &weights.layers[0].qkv[0], &weights.layers[0].gate_up[0]}) {
    add(matrix->tiles), add(matrix->scales);
  }
  add(weights.final_norm);
  return bytes;
}

model::Model formatted(DType outer, const std::vector<DType>& projections) {
  model::Model model;
  model.path = "random";
  model.config = small_config();
  model.tensors = std::make_unique<FormattedTensors>(model.config, outer, projections);
  return model;
}

// A few rows of tiles at a time, or all; on one thread or several.
TEST(GpuLoading, GivesTheSameBytesThroughAnyStagingMemory) {
  for (const DType type : {DType::bf16, DType::q4_1}) {
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
                                       {DType::q4_k, DType::q6_k, DType::f16}}) {
    model::Model model;
    model.path = "random";
    model.config = small_config();
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

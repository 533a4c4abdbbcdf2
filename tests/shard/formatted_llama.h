// A small Llama with random weights in any storage format, and its logits on both devices.
#pragma once

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "shard/gpu/llama.h"
#include "shard/llama.h"
#include "tests/kernels/random_matrix.h"
#include "tests/shard/gpu/executed_exchange.h"
#include "tests/shard/random_llama.h"

namespace lockstep::shard {

// 8 heads of 32 on 4 key-value heads, 24 groups of 32 in the MLP: two and three ranks cut
// superblocks of 256 columns, and gptq's and awq's groups of 64, at multiples of 32 inside.
inline model::ModelConfig formats_config() {
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

// The rows and columns of e4m3 and u8 that share a scale; 0: all.
struct ScaleBlock {
  std::int64_t rows, columns;
};
inline constexpr ScaleBlock kOfBlocks{128, 128}, kOfRows{1, 0}, kOfTensors{0, 0};

// Random weights in memory: projections of one format, or in turn of several; norms in f32.
class FormattedTensors final : public KnownTensors {
 public:
  FormattedTensors(const model::ModelConfig& config, kernels::DType outer,
                   std::vector<kernels::DType> projections, ScaleBlock scales = kOfBlocks)
      : projections_(std::move(projections)), scales_(scales) {
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
  double value(const std::string& name, std::int64_t i) const override {
    return matrices_.at(name).values[static_cast<std::size_t>(i)];
  }
  // What a tensor stores, to be bent.
  kernels::RandomMatrix& matrix(const std::string& name) { return matrices_.at(name); }

 private:
  void add_projection(const std::string& name, std::int64_t rows, std::int64_t columns) {
    add(name, projections_[next_++ % projections_.size()], rows, columns);
  }
  void add_norm(const std::string& name, std::int64_t size) {
    add(name, kernels::DType::f32, 8, size / 8);
    tensors_.at(name).shape = {size};
  }
  void add(const std::string& name, kernels::DType type, std::int64_t rows, std::int64_t columns) {
    const float spread = type == kernels::DType::f32 ? 1.0f : 0.02f;
    const auto& matrix =
        matrices_.emplace(name, written(type, rows, columns, spread)).first->second;
    tensors_[name] = {.name = name,
                      .dtype = type,
                      .shape = {rows, columns},
                      .data = matrix.bytes,
                      .scales = matrix.scales,
                      .zeros = matrix.zeros,
                      .group_size = matrix.group_size,
                      .zero_offset = matrix.zero_offset,
                      .scale_type = matrix.scale_type,
                      .scale_rows = matrix.scale_rows,
                      .scale_columns = matrix.scale_columns};
  }
  kernels::RandomMatrix written(kernels::DType type, std::int64_t rows, std::int64_t columns,
                                float spread) {
    kernels::MatrixWriter writer(random_);
    if (type != kernels::DType::e4m3 && type != kernels::DType::u8) {
      return writer.matrix(type, rows, columns, spread);
    }
    kernels::RandomMatrix made{type, rows, columns, {}, {}, {}, {}};
    made.scale_rows = scales_.rows == 0 ? rows : scales_.rows;
    made.scale_columns = scales_.columns == 0 ? columns : scales_.columns;
    writer.write_bytes(made);
    return made;
  }

  std::vector<kernels::DType> projections_;
  ScaleBlock scales_;
  std::size_t next_ = 0;
  std::mt19937 random_{41};
  std::string path_ = "random";
  std::map<std::string, kernels::RandomMatrix, std::less<>> matrices_;
  std::map<std::string, model::Tensor, std::less<>> tensors_;
};

inline model::Model formatted(kernels::DType outer, const std::vector<kernels::DType>& projections,
                              ScaleBlock scales = kOfBlocks) {
  model::Model model;
  model.path = "random";
  model.config = formats_config();
  model.tensors = std::make_unique<FormattedTensors>(model.config, outer, projections, scales);
  return model;
}

// The logits of the last of some tokens on executors in the place of GPUs, and on the CPU with the
// same activations.
inline std::vector<float> few_logits(const model::Model& model, int world, bool on_gpu,
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

// What some matrices and a norm of the second of three ranks are on its GPU, byte by byte.
inline std::vector<std::byte> loaded(const model::Model& model, const GpuLoadOptions& options) {
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

}  // namespace lockstep::shard

// A small Llama with random weights in any storage format, and its logits on both devices.
#pragma once

#include <gtest/gtest.h>

#include "shard/gpu/llama.h"
#include "shard/llama.h"
#include "tests/shard/formatted_tensors.h"
#include "tests/shard/gpu/executed_exchange.h"

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

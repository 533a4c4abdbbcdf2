// A random small model on random executors in the place of GPUs, with random work: what a seed
// stands for.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <ostream>
#include <vector>

#include "shard/gpu/runner_sizes.h"
#include "shard/partition.h"
#include "tests/shard/random_llama.h"
#include "tests/shard/random_work.h"

namespace lockstep::shard {

struct GpuLlamaCase {
  std::uint32_t seed = 0;
  model::ModelConfig config = {};
  kernels::cuda::CacheFormat kv_format = kernels::cuda::CacheFormat::bf16;
  kernels::cuda::AttentionBackend attention = kernels::cuda::AttentionBackend::own;
  bool plain = false;  // weights
  // Of the cluster alone:
  int stages = 1, ranks = 1;
  bool peers = false;       // kernels exchange by themselves
  bool slices = false;      // sums of many rows are cut
  bool warpgroups = false;  // multiply
  bool late = false;        // work is done when it is waited for
  int recordings = 0;
  int max_sequences = 8;  // room for parts of attention follows from it
  WorkOptions work = {};
};

// Around what kernels, blocks and chunks of positions hold.
inline constexpr std::array kGpuEdges{8, 16, 32, 64, 256, 300, 512};

class GpuCaseMaker {
 public:
  explicit GpuCaseMaker(std::uint32_t seed) : dice_(seed * 2654435761u + 54321u) {
    case_.seed = seed;
  }

  GpuLlamaCase make() {
    draw_model();
    draw_kernels();
    draw_cluster();
    draw_work();
    return std::move(case_);
  }

 private:
  using Backend = kernels::cuda::AttentionBackend;

  void draw_model() {
    model::ModelConfig& config = case_.config;
    config.family = "llama";
    config.num_attention_heads = dice_.between(1, 6);
    do {
      config.num_key_value_heads = dice_.between(1, 6);
    } while (config.num_attention_heads % config.num_key_value_heads != 0);
    config.head_dim = dice_.one_of({32, 32, 32, 64, 96, 128});
    config.hidden_size = 32 * dice_.between(1, 2);
    const auto lanes = static_cast<int>(config.num_attention_heads);
    config.intermediate_size = 32 * dice_.between(lanes, lanes + 3);
    config.num_hidden_layers = dice_.between(1, 2);
    config.vocab_size = 16 * lanes - dice_.below(8);
    config.max_position_embeddings = 2048;
    config.tie_word_embeddings = dice_.chance(50);
    config.attention_bias = dice_.chance(35);
    config.head_norms = config.head_dim != 96 && dice_.chance(35);
  }

  void draw_kernels() {
    case_.attention = dice_.one_of({Backend::own, Backend::own, Backend::flashinfer, Backend::fa3});
    case_.kv_format =
        dice_.one_of({kernels::cuda::CacheFormat::bf16, kernels::cuda::CacheFormat::e4m3});
    if (case_.attention == Backend::fa3) case_.kv_format = kernels::cuda::CacheFormat::bf16;
    case_.plain = dice_.chance(25);
  }

  void draw_cluster() {
    do {
      case_.ranks =
          dice_.between(1, std::min(4, static_cast<int>(case_.config.num_attention_heads)));
    } while (case_.attention != Backend::own && common_group(case_.config, case_.ranks) == 0);
    case_.stages = dice_.between(1, static_cast<int>(case_.config.num_hidden_layers));
    case_.peers = dice_.chance(50);
    case_.slices = dice_.chance(50);
    case_.warpgroups = dice_.chance(40);
    case_.late = dice_.chance(30);
    case_.recordings = dice_.chance(60) ? 8 : 0;
    case_.max_sequences = dice_.one_of({8, 300});
  }

  void draw_work() {
    WorkOptions& work = case_.work;
    const auto edge = static_cast<std::size_t>(dice_.below(std::ssize(kGpuEdges)));
    work.prompt = kGpuEdges[edge] + dice_.between(-1, 1);
    work.decoding = dice_.chance(60) ? dice_.between(1, 5) : 0;
    work.company_prompt = 20;
    work.all_logits_of_decoding = true;
    work.cuts = dice_.one_of({Cuts::none, Cuts::few, Cuts::at_edges});
    work.company = dice_.one_of({Company::none, Company::others, Company::same_prefix});
    work.block_size = dice_.one_of({16, 32});
    work.vocabulary = static_cast<int>(case_.config.vocab_size);
  }

  Dice dice_;
  GpuLlamaCase case_;
};

inline GpuLlamaCase make_gpu_case(std::uint32_t seed) { return GpuCaseMaker(seed).make(); }

// The work of a case.
inline Work make_work(const GpuLlamaCase& c) {
  Dice dice(c.seed);
  return make_work(dice, c.work);
}

inline std::ostream& operator<<(std::ostream& out, const GpuLlamaCase& c) {
  out << "GPU case " << c.seed << ": " << shape_text(c.config) << "; "
      << (c.kv_format == kernels::cuda::CacheFormat::e4m3 ? "e4m3 cache" : "bf16 cache") << ", "
      << std::array{"auto", "flashinfer", "own", "fa3"}[static_cast<std::size_t>(c.attention)]
      << " attention" << (c.plain ? ", plain weights" : "") << "; " << c.stages << " stages of "
      << c.ranks << " ranks" << (c.peers ? ", peers" : "") << (c.slices ? ", slices" : "")
      << (c.warpgroups ? ", warpgroups" : "") << (c.late ? ", late" : "") << ", " << c.recordings
      << " recordings, " << c.max_sequences << " sequences; " << c.work;
  return out;
}

}  // namespace lockstep::shard

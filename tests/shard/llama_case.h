// A random small model on a random cluster of CPUs with random work: what a seed stands for.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "kernels/cpu_family.h"
#include "shard/activations.h"
#include "shard/partition.h"
#include "tests/kernels/emulated_unit/emulated_unit.h"
#include "tests/shard/formatted_tensors.h"
#include "tests/shard/random_work.h"

namespace lockstep::shard {

// How query heads are split over ranks.
enum class Split { one_rank, whole_groups, unequal_groups, parts_of_groups, single_heads };

struct LlamaCase {
  std::uint32_t seed = 0;
  model::ModelConfig config = {};
  kernels::DType outer = kernels::DType::bf16;   // of the embedding and the head
  std::vector<kernels::DType> projections = {};  // in turn
  std::optional<kernels::ActivationFormat> activations = {};
  kernels::KvFormat kv_format = kernels::KvFormat::bf16;
  bool has_unit = false;  // kernels for a matrix unit, which is emulated
  // Of the cluster alone:
  kernels::CpuFamily family = kernels::CpuFamily::scalar;  // without unit
  int stages = 1, ranks = 1, threads = 1;
  bool shares_memory = true;
  WorkOptions work = {};

  Split split() const {
    const std::int64_t kv = config.num_key_value_heads;
    if (ranks == 1) return Split::one_rank;
    if (ranks == config.num_attention_heads) return Split::single_heads;
    if (ranks > kv) return Split::parts_of_groups;
    return kv % ranks == 0 ? Split::whole_groups : Split::unequal_groups;
  }
};

inline float spread_of_case(kernels::DType type) {
  switch (type) {
    case kernels::DType::q8_0: return 0.002f;
    case kernels::DType::q4_0:
    case kernels::DType::q4_1:
    case kernels::DType::i8: return 0.02f;
    default: return 0.15f;
  }
}

// Weights in a case's format; the same for every case of the same model.
inline model::Model make_model(const LlamaCase& c) {
  model::Model model;
  model.path = "random";
  model.config = c.config;
  model.tensors = std::make_unique<FormattedTensors>(c.config, c.outer, c.projections, kOfBlocks,
                                                     spread_of_case);
  return model;
}

// The lengths of prompts: some classes, each around an edge of what kernels take at once, of blocks
// or of chunks.
inline constexpr std::array kEdges{16, 32, 64, 128, 256, 512, 1024, 1536, 2100};
inline constexpr int kEdgesOfUnit = 6;  // the first of them

class CaseMaker {
 public:
  explicit CaseMaker(std::uint32_t seed) : dice_(seed * 2654435761u + 12345u) { case_.seed = seed; }

  LlamaCase make() {
    draw_model();
    draw_formats();
    draw_cluster();
    draw_work();
    return std::move(case_);
  }

 private:
  void draw_model() {
    model::ModelConfig& config = case_.config;
    config.family = "llama";
    config.num_attention_heads = dice_.between(1, 12);
    do {
      config.num_key_value_heads = dice_.between(1, 12);
    } while (config.num_attention_heads % config.num_key_value_heads != 0);
    config.head_dim = 32 * dice_.between(1, 4);
    config.hidden_size = 32 * dice_.between(1, 5);
    // At least a group for each lane, so that any number of ranks has some of it; or fewer.
    const auto lanes = static_cast<int>(config.num_attention_heads);
    config.intermediate_size = 32 * dice_.between(dice_.chance(25) ? 1 : lanes, 2 * lanes + 3);
    config.num_hidden_layers = dice_.between(1, 3);
    config.vocab_size = dice_.between(16 * 11 + 1, 16 * 14);
    config.max_position_embeddings = 4096;
    config.tie_word_embeddings = dice_.chance(50);
    config.attention_bias = dice_.chance(35);
    config.head_norms = dice_.chance(35);
  }

  void draw_formats() {
    using enum kernels::DType;
    switch (dice_.below(9)) {
      case 0: case_.projections = {f32}; break;
      case 1: case_.projections = {f16}; break;
      case 2: case_.projections = {q8_0}; break;
      case 3: case_.projections = {q4_0}; break;
      case 4: case_.projections = {q4_1}; break;
      case 5: case_.projections = {e4m3}; break;
      case 6: case_.projections = {i8}; break;
      case 7: case_.projections = {q8_0, bf16, q4_1, f16, bf16}; break;
      default: case_.projections = {bf16}; break;
    }
    case_.outer = dice_.one_of({bf16, bf16, f16, q8_0});
    case_.activations = dice_.one_of<std::optional<kernels::ActivationFormat>>(
        {std::nullopt, std::nullopt, kernels::ActivationFormat::f32,
         kernels::ActivationFormat::bf16, kernels::ActivationFormat::int8});
    case_.kv_format = dice_.chance(50) ? kernels::KvFormat::int8 : kernels::KvFormat::bf16;
  }

  void draw_cluster() {
    const auto families = families_without_unit();
    case_.has_unit = dice_.chance(20) && kernels::can_emulate_unit();
    case_.family = families[static_cast<std::size_t>(dice_.below(60)) % families.size()];
    case_.threads = dice_.between(1, 3);
    case_.shares_memory = dice_.chance(60);
    case_.stages = dice_.between(1, static_cast<int>(case_.config.num_hidden_layers));
    do {
      case_.ranks = dice_.between(1, static_cast<int>(case_.config.num_attention_heads));
    } while (!can_be_split());
  }

  static std::vector<kernels::CpuFamily> families_without_unit() {
    auto families = kernels::supported_families();
    std::erase(families, kernels::CpuFamily::amx);
    return families;
  }

  bool can_be_split() const {
    try {
      partition_model(case_.config, case_.ranks);
    } catch (const Error&) {
      return false;
    }
    return true;
  }

  void draw_work() {
    WorkOptions& work = case_.work;
    // The emulation is slow.
    const int edges = case_.has_unit ? kEdgesOfUnit : static_cast<int>(std::ssize(kEdges));
    const int edge = kEdges[static_cast<std::size_t>(dice_.below(edges))];
    work.prompt = edge + dice_.between(-1, 1);
    work.decoding = dice_.chance(50) ? dice_.between(1, 4) : 0;
    work.cuts = dice_.one_of({Cuts::none, Cuts::few, Cuts::at_edges, Cuts::small});
    work.company = dice_.one_of({Company::none, Company::others, Company::same_prefix});
    work.block_size = dice_.one_of({16, 32, 64});
    work.vocabulary = static_cast<int>(case_.config.vocab_size);
  }

  Dice dice_;
  LlamaCase case_;
};

inline LlamaCase make_case(std::uint32_t seed) { return CaseMaker(seed).make(); }

// The work of a case.
inline Work make_work(const LlamaCase& c) {
  Dice dice(c.seed);
  return make_work(dice, c.work);
}

inline std::ostream& operator<<(std::ostream& out, const LlamaCase& c) {
  out << "case " << c.seed << ": " << shape_text(c.config) << "; weights";
  for (const auto type : c.projections) out << ' ' << kernels::name(type);
  out << ", embedding " << kernels::name(c.outer) << ", activations ";
  if (!c.activations) out << "auto";
  if (c.activations) out << std::array{"f32", "bf16", "int8"}[static_cast<int>(*c.activations)];
  out << (c.kv_format == kernels::KvFormat::int8 ? ", int8 cache" : ", bf16 cache") << "; "
      << (c.has_unit ? "emulated unit" : kernels::name(c.family)) << ", " << c.stages
      << " stages of " << c.ranks << " ranks of " << c.threads << " threads, "
      << (c.shares_memory ? "shared" : "own") << " memory; " << c.work;
  return out;
}

}  // namespace lockstep::shard

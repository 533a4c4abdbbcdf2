// Plans of public models, against figures worked out by hand.
#include "shard/memory_plan.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "model/outline.h"
#include "tests/model/temp_folder.h"

namespace lockstep::shard {
namespace {

// As published, but for what plays no part in sizes.
nlohmann::json llama_8b() {
  return {{"architectures", {"LlamaForCausalLM"}},
          {"attention_bias", false},
          {"bos_token_id", 128000},
          {"eos_token_id", {128001, 128008, 128009}},
          {"hidden_act", "silu"},
          {"hidden_size", 4096},
          {"intermediate_size", 14336},
          {"max_position_embeddings", 131072},
          {"num_attention_heads", 32},
          {"num_hidden_layers", 32},
          {"num_key_value_heads", 8},
          {"rms_norm_eps", 1e-05},
          {"rope_scaling",
           {{"factor", 8.0},
            {"low_freq_factor", 1.0},
            {"high_freq_factor", 4.0},
            {"original_max_position_embeddings", 8192},
            {"rope_type", "llama3"}}},
          {"rope_theta", 500000.0},
          {"tie_word_embeddings", false},
          {"torch_dtype", "bfloat16"},
          {"vocab_size", 128256}};
}
nlohmann::json llama_70b() {
  nlohmann::json config = llama_8b();
  config["hidden_size"] = 8192;
  config["intermediate_size"] = 28672;
  config["num_attention_heads"] = 64;
  config["num_hidden_layers"] = 80;
  return config;
}
nlohmann::json qwen_72b() {
  return {{"architectures", {"Qwen2ForCausalLM"}},
          {"bos_token_id", 151643},
          {"eos_token_id", 151645},
          {"hidden_act", "silu"},
          {"hidden_size", 8192},
          {"intermediate_size", 29568},
          {"max_position_embeddings", 32768},
          {"max_window_layers", 70},
          {"num_attention_heads", 64},
          {"num_hidden_layers", 80},
          {"num_key_value_heads", 8},
          {"rms_norm_eps", 1e-06},
          {"rope_theta", 1000000.0},
          {"sliding_window", 131072},
          {"tie_word_embeddings", false},
          {"torch_dtype", "bfloat16"},
          {"use_sliding_window", false},
          {"vocab_size", 152064}};
}

ModelShape shape_of(const nlohmann::json& config, MatrixFormat format = MatrixFormat::bf16) {
  const model::TempFolder folder;
  const auto outline = model::read_outline(folder.write("config.json", config.dump()));
  return in_format(
      {.config = outline.config, .attention_bias = outline.attention_bias, .format = {}}, format);
}

// 512 tokens a step, 64 sequences, blocks of 16 positions, sequences of 8192.
constexpr StepSizes kSizes{.max_positions = 8192};

// 90% of 80 GiB. The reserve is 512 + 32 + 136 + 512 MiB, with 512 for NCCL where there are others.
MemoryLimits of_80_gib(int ranks) {
  return {.device = Device::cuda,
          .memory = 77309411328,
          .reserve = ranks == 1 ? std::size_t{1249902592} : std::size_t{1786773504}};
}

// How many bytes, by hand:
//
// Llama-3.1-8B has 128256 x 4096 values in the embedding and as many in the head, 1,050,673,152. A
// layer has 4096 x 4096 in q and o, 1024 x 4096 in k and v, 3 x 14336 x 4096 in the MLP:
// 218,103,808. 32 of them and the tables: 8,029,995,008 values of 2 bytes, which ranks divide. Each
// of them has all 65 norms, 4096 values of 4 bytes: 1,064,960 bytes.
//   tp 1: 16,059,990,016 + 1,064,960; tp 2: 8,029,995,008 + 1,064,960; ...
//
// Llama-3.1-70B: 2 x 128256 x 8192 + 80 x (2 x 8192 x 8192 + 2 x 1024 x 8192 + 3 x 28672 x 8192)
// = 70,552,387,584 values, 161 norms of 8192: 5,275,648 bytes.
//
// Qwen2.5-72B: 2 x 152064 x 8192 + 80 x (2 x 8192 x 8192 + 2 x 1024 x 8192 + 3 x 29568 x 8192)
// = 72,704,065,536 values, norms as before, and 80 biases of 8192 + 2 x 1024 values of 4 bytes,
// divided by ranks: 3,276,800 bytes. 29568 columns are 924 groups of 32; eight ranks take 115 or
// 116 of them, the larger ones 3712 columns: 3 x 3712 x 8192 values a layer.
//
// A block of 16 positions: 2 (keys, values) x layers x 8 heads / tp x 128 x 2 bytes x 16.
//
// Activations: a row of c columns takes 4c bytes in f32, 3(c + 64) rounded to 16 and 8 bits, and 16
// for every 32 columns: 7.5c + 192. With h = hidden_size, q and k the columns of this rank's
// queries and keys, i its inner columns and v its vocabulary:
//   512 x (2(7.5h + 192) + 2(7.5q + 192) + 2(7.5k + 192) + 7.5i + 192)    the residual stream etc.
//   + 64 x (7.5h + 192) + 64 x 4v                                         what is sampled from
//   + 8192 x 64 x 2 x 4                                                   cosines and sines
//   + 512 x 4h, where tp > 1                                              embeddings of all ranks
//   + 2 x 512 x 4h x (1, or tp + 2 where tp > 1)                          sums of attention and MLP
//
// What is left is the memory less weights, activations and reserve; blocks are rounded down.
struct Figures {
  int tp;
  std::size_t weights;
  std::size_t activations;
  std::size_t kv_block;
  std::int64_t kv_cache;
  std::int64_t kv_blocks;
  bool fits;  // 512 blocks are one sequence
};

void expect_plans(const ModelShape& shape, std::initializer_list<Figures> all) {
  for (const Figures& expected : all) {
    const MemoryPlan plan = plan_memory(shape, expected.tp, 1, of_80_gib(expected.tp), kSizes);
    EXPECT_EQ(plan.weights, expected.weights) << "tp " << expected.tp;
    EXPECT_EQ(plan.activations, expected.activations) << "tp " << expected.tp;
    EXPECT_EQ(plan.kv_block, expected.kv_block) << "tp " << expected.tp;
    EXPECT_EQ(plan.kv_cache, expected.kv_cache) << "tp " << expected.tp;
    if (expected.kv_cache > 0) {
      EXPECT_EQ(plan.kv_blocks, expected.kv_blocks) << "tp " << expected.tp;
      EXPECT_EQ(plan.kv_tokens(), 16 * expected.kv_blocks) << "tp " << expected.tp;
      EXPECT_EQ(plan.sequences(), expected.kv_blocks / 512) << "tp " << expected.tp;
    }
    EXPECT_EQ(plan.fits(), expected.fits) << "tp " << expected.tp;
  }
}

TEST(MemoryPlan, OfLlama8BIsTheHandCalculation) {
  expect_plans(shape_of(llama_8b()),
               {{1, 16061054976, 182300672, 2097152, 59816153088, 28522, true},
                {2, 8031059968, 177418240, 1048576, 67314159616, 64195, true},
                {4, 4016062464, 179171328, 524288, 71327404032, 136046, true},
                {8, 2008563712, 230379520, 262144, 73283694592, 279555, true}});
}

TEST(MemoryPlan, OfLlama70BIsTheHandCalculation) {
  expect_plans(shape_of(llama_70b()),
               {{1, 141110050816, 319008768, 5242880, -65369550848, 0, false},
                {2, 70557663232, 329592832, 2621440, 4635381760, 1768, true},
                {4, 35281469440, 343273472, 1310720, 39897894912, 30439, true},
                {8, 17643372544, 450777088, 655360, 57428488192, 87628, true}});
}

TEST(MemoryPlan, OfQwen72BIsTheHandCalculationWithItsBiases) {
  expect_plans(shape_of(qwen_72b()),
               {{1, 145416683520, 328544256, 5242880, -69685719040, 0, false},
                {2, 72710979584, 334360576, 2621440, 2477297664, 945, true},
                {4, 36358127616, 345657344, 1310720, 38818852864, 29616, true},
                {8, 18244616192, 452030464, 655360, 56825991168, 86709, true}});
}

// fp8: a byte a value and 4 for a row, in the layers; q4: 20 bytes for 32 values. Embedding and
// head stay in bf16. For the 8B: 6,979,321,856 values in layers; 32 x (4096 + 2 x 1024 + 4096 + 2 x
// 14336
// + 4096) rows = 1,376,256.
TEST(MemoryPlan, OfNarrowWeightsIsTheHandCalculation) {
  const auto weights = [](const ModelShape& shape) {
    return plan_memory(shape, 1, 1, of_80_gib(1), kSizes).weights;
  };
  EXPECT_EQ(weights(shape_of(llama_8b(), MatrixFormat::fp8)),
            6979321856u + 4u * 1376256u + 2u * 1050673152u + 1064960u);
  EXPECT_EQ(weights(shape_of(llama_8b(), MatrixFormat::q4)),
            6979321856u / 32u * 20u + 2u * 1050673152u + 1064960u);
  // The rank of the 70B whose columns are cut in eight still has a scale for every row of o and
  // down: 2 x 8192, beside 1024 + 2 x 128 + 2 x 3584 rows of its own.
  EXPECT_EQ(
      plan_memory(shape_of(llama_70b(), MatrixFormat::fp8), 8, 1, of_80_gib(8), kSizes).weights,
      68451041280u / 8u + 80u * 4u * (1024u + 256u + 7168u + 16384u) + 2u * 2101346304u / 8u +
          5275648u);
}

// Int8 keys and values: 128 bytes and a scale in f32 for each, of 8 heads in 32 layers.
TEST(MemoryPlan, OfAnInt8CacheCountsItsScales) {
  StepSizes sizes = kSizes;
  sizes.kv_format = kernels::KvFormat::int8;
  EXPECT_EQ(plan_memory(shape_of(llama_8b()), 1, 1, of_80_gib(1), sizes).kv_block,
            2u * 32u * 8u * 132u * 16u);
}

TEST(MemoryPlan, SaysByHowMuchAModelDoesNotFit) {
  const auto plan = plan_memory(shape_of(llama_70b()), 1, 1, of_80_gib(1), kSizes);
  // One sequence: 512 blocks of 5242880 bytes.
  EXPECT_EQ(plan.one_sequence(), 2684354560u);
  EXPECT_EQ(plan.needed(), 141110050816u + 319008768u + 1249902592u + 2684354560u);
  EXPECT_EQ(plan.margin(), 77309411328 - 145363316736);
}

TEST(MemoryPlan, FitsExactlyFromTheLastByteOn) {
  const auto shape = shape_of(llama_8b());
  MemoryLimits limits{.device = Device::cuda, .memory = 0, .reserve = 1000};
  // 16,061,054,976 + 182,300,672 + 1000 + 512 x 2,097,152
  limits.memory = 17317098472;
  EXPECT_TRUE(plan_memory(shape, 1, 1, limits, kSizes).fits());
  EXPECT_EQ(plan_memory(shape, 1, 1, limits, kSizes).margin(), 0);
  --limits.memory;
  EXPECT_FALSE(plan_memory(shape, 1, 1, limits, kSizes).fits());
  EXPECT_EQ(plan_memory(shape, 1, 1, limits, kSizes).margin(), -1);
}

TEST(MemoryPlan, SuggestsTheSmallestSplitAndTheWidestFormatThatFit) {
  const auto shape = shape_of(llama_70b());
  const auto plan = plan_memory(shape, 1, 1, of_80_gib(1), kSizes);
  const auto found = suggest(shape, plan, of_80_gib, kSizes);
  EXPECT_EQ(found.tensor_parallel, 2);  // as above
  // 582 blocks are left beside 72,685,879,296 bytes of fp8.
  EXPECT_EQ(found.weights, MatrixFormat::fp8);
  EXPECT_FALSE(found.max_model_len);  // not even one block beside bf16
}

TEST(MemoryPlan, SuggestsTheLengthForWhichTheCacheHasRoom) {
  StepSizes sizes = kSizes;
  sizes.max_positions = 131072;
  const auto shape = shape_of(llama_70b());
  const auto plan = plan_memory(shape, 2, 1, of_80_gib(2), sizes);
  // Tables of 131072 positions instead of 8192: 64 x 2 x 4 bytes for each of 122,880 more.
  constexpr std::int64_t kBlocks = (4635381760 - 122880 * 512) / 2621440;
  EXPECT_FALSE(plan.fits());
  const auto found = suggest(shape, plan, of_80_gib, sizes);
  ASSERT_EQ(found.max_model_len, 16 * kBlocks);
  sizes.max_positions = *found.max_model_len;
  EXPECT_TRUE(plan_memory(shape, 2, 1, of_80_gib(2), sizes).fits());
}

TEST(MemoryPlan, OfRanksThatDivideOneHostsMemorySuggestsNoMoreOfThem) {
  const auto shape = shape_of(llama_70b());
  StepSizes sizes = kSizes;
  sizes.shared_sums = true;
  const auto of_host = [](int ranks) {
    return MemoryLimits{.device = Device::cpu, .memory = (std::size_t{64} << 30) / ranks};
  };
  const auto plan = plan_memory(shape, 2, 1, of_host(2), sizes);
  EXPECT_FALSE(plan.fits());
  const auto found = suggest(shape, plan, of_host, sizes);
  EXPECT_FALSE(found.tensor_parallel);
  EXPECT_EQ(found.weights, MatrixFormat::q4);  // 47 GB; int8 would be 77
}

TEST(MemoryPlan, ReservesForNcclOnlyWhereThereAreOtherRanks) {
  EXPECT_EQ(cuda_reserve(1), 1249902592u);
  EXPECT_EQ(cuda_reserve(2), 1786773504u);
}

}  // namespace
}  // namespace lockstep::shard

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
  return in_format({.config = outline.config, .format = {}}, format);
}

// 512 tokens a step, 64 sequences, blocks of 16 positions, sequences of 8192.
constexpr StepSizes kSizes{.max_positions = 8192};

// 90% of 80 GiB. The reserve is 512 + 512 MiB, with 512 for NCCL where there are others.
MemoryLimits of_80_gib(int ranks) {
  return {.device = Device::cuda,
          .memory = 77309411328,
          .reserve = ranks == 1 ? std::size_t{1073741824} : std::size_t{1610612736}};
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
// Activations. With h = hidden_size, q and k the columns of this rank's queries and keys, n its
// query heads and g of them to a key-value head, i its inner columns and v its vocabulary, of V in
// all; 512 rows, 64 sequences, of which a rank gets w = 64 / tp whole; 8192 positions; quotients by
// 4096 are rounded up, and s = V / 4096:
//   512 x (4h + 2h + 4(q + 2k) + 2q + 2q + 2i)               the residual stream etc.
//   + 64 x (2h + 4v)                                         what is sampled from
//   + 8192 x 64 x 2 x 4                                      cosines and sines
//   + 4096 x n x (128 + 1) x 4                               FlashInfer's parts: 512 rows x 8
//   chunks
//   + 512 x 12 + (64 + 8) x 512 x 4 + 64 x 4                 inputs of a step: tokens, places,
//   tables
//   + 2 x 64 x 64 + 2^20 x 8 + 64 x (16 + 4 + 4)             sampling's rows, lists and truncation
//   + 128 x 24 + (128 + tp) x 24, rounded up to 256          copies of whole rows
//   + t(2 x 64 x 8) + t((512 g / 128 + 64) x 8) + 2 x 2048 + 16     FlashInfer's plan, with 33n + 4
//                                                            bytes for t(n) items, each of its nine
//                                                            arrays rounded up to 16; all to 256
//   + 64 x 8 x (1 + v / 4096 + (tp, where tp > 1))           tokens, candidates, ranks' winners
//   + w x 8 x (1 + s)                                        cuts and candidates of whole rows
//   + w x (s x (8 + 20 x 8) + 22 x 8) + 64 x 22 x 8          logprobs
//   + 128 / tp x 4V, where tp = 1; else twice that and       whole rows: dealt, received, sent
//     128 x 4v
//   + 2 x 4 x 512 h, where tp = 1; else the larger of 4 MiB  segments of all ranks, or slices
//     and 4 tp (512 h / tp + 64), and 3 x 4 x 512 h          own, cut, and the sum
//   + 24, where tp = 1; else 4 (1 + 3 tp)                    merges
//   + where tp > 1, 72 r rounded up to 256 + 2 r 4h tp,      kernels' channels, r = the smaller of
//     rounded up to 2 MiB                                    128 and 4 MiB / 4h tp
//   + orders of sums of l lanes in m segments, m = 2 where tp = 1: 8 x leaves + 4 (l + 1) + 8 (l -
//   m)
//     + 4 m and 4 for each level; of h / 256 leaves in 1 lane, of n in n, and of 2n in n;
//     12 x (8 / tp) x g / 4, rounded up, for runs of heads
//   + a block of the cache for rows of padding
// The sums were made apart from the program's.
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
               {{1, 16061054976, 246981148, 2097152, 59927633380, 28575, true},
                {2, 8031059968, 237776376, 1048576, 67429962248, 64306, true},
                {4, 4016062464, 153876208, 524288, 71528859920, 136430, true},
                {8, 2008563712, 111928460, 262144, 73578306420, 280678, true}});
}

TEST(MemoryPlan, OfLlama70BIsTheHandCalculation) {
  expect_plans(shape_of(llama_70b()),
               {{1, 141110050816, 379107844, 5242880, -65253489156, 0, false},
                {2, 70557663232, 335561392, 2621440, 4805573968, 1833, true},
                {4, 35281469440, 226101776, 1310720, 40191227376, 30663, true},
                {8, 17643372544, 171374304, 655360, 57884051744, 88324, true}});
}

TEST(MemoryPlan, OfQwen72BIsTheHandCalculationWithItsBiases) {
  expect_plans(shape_of(qwen_72b()),
               {{1, 145416683520, 398380548, 5242880, -69579394564, 0, false},
                {2, 72710979584, 357387440, 2621440, 2630431568, 1003, true},
                {4, 36358127616, 237015056, 1310720, 39103655920, 29833, true},
                {8, 18244616192, 176847328, 655360, 57277335072, 87398, true}});
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

// Int8 keys and values, on CPUs: 128 bytes and a scale in f32 for each, of 8 heads in 32 layers.
// fp8, on GPUs: 128 bytes.
TEST(MemoryPlan, OfACacheOfBytesIsTheHandCalculation) {
  StepSizes sizes = kSizes;
  sizes.kv_format = kernels::KvFormat::int8;
  sizes.gpu_cache = kernels::cuda::CacheFormat::e4m3;
  const MemoryLimits of_a_host{.device = Device::cpu, .memory = 77309411328, .reserve = 0};
  EXPECT_EQ(plan_memory(shape_of(llama_8b()), 1, 1, of_a_host, sizes).kv_block,
            2u * 32u * 8u * 132u * 16u);
  EXPECT_EQ(plan_memory(shape_of(llama_8b()), 1, 1, of_80_gib(1), sizes).kv_block,
            2u * 32u * 8u * 128u * 16u);
}

TEST(MemoryPlan, CountsTheMemoryInWhichKernelsSumOnlyWhereTheyDo) {
  StepSizes sizes = kSizes;
  const auto activations = [&](int ranks) {
    return plan_memory(shape_of(llama_8b()), ranks, 1, of_80_gib(ranks), sizes).activations;
  };
  const std::size_t alone = activations(1), two = activations(2);
  sizes.gpu_exchange.peers = false;
  EXPECT_EQ(activations(1), alone);
  // 128 rows of two segments in two slots, and their flags, in pieces of 2 MiB: 4 x 2 and one more.
  EXPECT_EQ(two - activations(2), 5u * 2097152u);
}

// Of two ranks gathers have 2 slices of 512 rows of 4096 floats, and 64 floats more each: 512 bytes
// above 4 pieces of 2 MiB, so five. The sum of 512 rows fills 4 pieces. The best tokens of two
// ranks and 64 sequences, 8 bytes each, have a piece for themselves.
TEST(MemoryPlan, CountsWholePiecesOfWindows) {
  StepSizes sizes = kSizes;
  const auto activations = [&](int ranks) {
    return plan_memory(shape_of(llama_8b()), ranks, 1, of_80_gib(ranks), sizes).activations;
  };
  const std::size_t alone = activations(1), two = activations(2);
  sizes.gpu_exchange.windows = true;
  EXPECT_EQ(activations(1), alone);
  EXPECT_EQ(activations(2) - two, (2097152u - 512u) + (2097152u - 1024u));
}

TEST(MemoryPlan, SaysByHowMuchAModelDoesNotFit) {
  const auto plan = plan_memory(shape_of(llama_70b()), 1, 1, of_80_gib(1), kSizes);
  // One sequence: 512 blocks of 5242880 bytes.
  EXPECT_EQ(plan.one_sequence(), 2684354560u);
  EXPECT_EQ(plan.needed(), 141110050816u + 379107844u + 1073741824u + 2684354560u);
  EXPECT_EQ(plan.margin(), 77309411328 - 145247255044);
}

TEST(MemoryPlan, FitsExactlyFromTheLastByteOn) {
  const auto shape = shape_of(llama_8b());
  MemoryLimits limits{.device = Device::cuda, .memory = 0, .reserve = 1000};
  // 16,061,054,976 + 246,981,148 + 1000 + 512 x 2,097,152
  limits.memory = 17381778948;
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
  // 604 blocks are left beside 72,685,879,296 bytes of fp8.
  EXPECT_EQ(found.weights, MatrixFormat::fp8);
  EXPECT_FALSE(found.max_model_len);  // not even one block beside bf16
}

TEST(MemoryPlan, SuggestsTheLengthForWhichTheCacheHasRoom) {
  StepSizes sizes = kSizes;
  sizes.max_positions = 131072;
  const auto shape = shape_of(llama_70b());
  const auto plan = plan_memory(shape, 2, 1, of_80_gib(2), sizes);
  // 131072 positions instead of 8192. Cosines and sines: 64 x 2 x 4 bytes for each of 122,880 more.
  // FlashInfer's parts: 2^26 / (32 x 128) = 16,384 instead of 4,096, of 32 x 129 floats. Its plan,
  // of 128 chunks instead of 8: 33 bytes for each of 120 x (2 x 64 + 512 / 16 + 64) items. Tables:
  // 72 x 7,680 blocks more, of 4 bytes.
  constexpr std::int64_t kMore =
      122880 * 512 + 12288 * 32 * 129 * 4 + 120 * 224 * 33 + 72 * 7680 * 4;
  constexpr std::int64_t kBlocks = (4805573968 - kMore) / 2621440;
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
  EXPECT_EQ(cuda_reserve(1), 1073741824u);
  EXPECT_EQ(cuda_reserve(2), 1610612736u);
}

}  // namespace
}  // namespace lockstep::shard

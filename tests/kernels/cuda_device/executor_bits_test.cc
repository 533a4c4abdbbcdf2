// A device leaves the executor's bits: all own kernels but products, whose sums inside a matrix
// unit are the device's own.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>

#include "tests/kernels/cuda/executor_test_gpu.h"
#include "tests/kernels/cuda/random_values.h"

namespace lockstep::kernels::cuda {
namespace {

using Bytes = std::vector<std::uint8_t>;

class CudaExecutorBits : public OnTestGpu {
 protected:
  // `work` takes a TestGpu and leaves an array of bytes.
  template <class Work>
  static void expect_the_executors(Work work) {
    TestGpu executor(std::make_unique<ExecutorTestGpu>(Runs::once)), device;
    EXPECT_EQ(work(device), work(executor));
  }
  template <class T>
  static Bytes bytes_of(TestGpu& gpu, const T* first) {
    return gpu.values(reinterpret_cast<const std::uint8_t*>(first));
  }
};

class CudaExecutorBitsOfCache : public CudaExecutorBits,
                                public testing::WithParamInterface<CacheFormat> {
 protected:
  // Some blocks of 16 positions: any bytes but those that are not a number.
  static PagedCache cache(TestGpu& gpu, std::int32_t heads, std::int32_t head_dim,
                          std::int32_t blocks) {
    const bool bf16 = GetParam() == CacheFormat::bf16;
    const auto array = [&](unsigned seed, const char* name) -> void* {
      const auto numbers =
          random_floats(static_cast<std::size_t>(blocks * heads * 16 * head_dim), seed);
      if (bf16) return gpu.variable(to_bf16(numbers), name);
      Bytes bytes(numbers.size());
      for (std::size_t i = 0; i < bytes.size(); ++i) bytes[i] = float_to_bf16(numbers[i]) & 0xbf;
      return gpu.variable(bytes, name);
    };
    return {.keys = array(1, "keys"),
            .values = array(2, "values"),
            .format = GetParam(),
            .heads = heads,
            .block_size = 16,
            .head_dim = head_dim,
            .key_scale = bf16 ? 1.0f : 0.3f,
            .value_scale = bf16 ? 1.0f : 0.7f};
  }
  static std::vector<std::int32_t> tables(std::int32_t blocks) {
    std::vector<std::int32_t> table;
    for (std::int32_t i = 0; i < blocks; ++i) table.push_back(blocks - 1 - i);
    return table;
  }
};

TEST_F(CudaExecutorBits, OfNormsAndTheResidualStream) {
  for (const bool only_the_stream : {false, true}) {
    expect_the_executors([&](TestGpu& gpu) {
      constexpr std::int32_t kRows = 3, kColumns = 1060;
      const RmsNormArgs args{
          .hidden = gpu.variable(random_floats(kRows * kColumns, 1, 3.0f), "hidden"),
          .update = {.segments = gpu.constant(random_floats(3 * kRows * kColumns, 2), "segments"),
                     .stride = kRows * kColumns,
                     .count = 3,
                     .merges = gpu.constant(std::vector<std::int32_t>{0, 0, 2}, "merges")},
          .weight = gpu.constant(random_floats(kColumns, 3), "weight"),
          .out = gpu.blank<std::uint16_t>(kRows * kColumns, "out"),
          .row_indices = nullptr,
          .rows = kRows,
          .columns = kColumns,
          .eps = 1e-5f};
      gpu.gpu().run(args);
      return only_the_stream ? bytes_of(gpu, args.hidden) : bytes_of(gpu, args.out);
    });
  }
}

TEST_F(CudaExecutorBits, OfSwiglu) {
  expect_the_executors([](TestGpu& gpu) {
    constexpr std::int32_t kColumns = 4100;
    const float* gate = gpu.constant(random_floats(4 * kColumns, 1, 8.0f), "gate and up");
    const SwigluArgs args{.gate = gate,
                          .up = gate + kColumns,
                          .stride = 2 * kColumns,
                          .out = gpu.blank<std::uint16_t>(2 * kColumns, "out"),
                          .rows = 2,
                          .columns = kColumns};
    gpu.gpu().run(args);
    return bytes_of(gpu, args.out);
  });
}

TEST_F(CudaExecutorBits, OfLogprobs) {
  expect_the_executors([](TestGpu& gpu) {
    constexpr std::int32_t kVocabulary = 9001, kBest = 20;
    const auto slices = static_cast<std::size_t>(logprob_slices(kVocabulary));
    const TopLogprobsArgs args{
        .logits = gpu.constant(random_floats(2 * kVocabulary, 1, 5.0f), "logits"),
        .logits_stride = kVocabulary,
        .sampled = gpu.constant(std::vector<ScoredToken>{{1.0f, 0}, {1.0f, 9000}}, "sampled"),
        .sampled_row = gpu.constant(std::vector<std::int32_t>{1, 0}, "sampled_row"),
        .sums = gpu.blank<std::uint64_t>(2 * slices, "sums"),
        .candidates = gpu.blank<ScoredToken>(2 * slices * kBest, "candidates"),
        .out = gpu.blank<ScoredToken>(2 * (2 + kBest), "out"),
        .rows = 2,
        .vocabulary = kVocabulary,
        .best = kBest};
    gpu.gpu().run(args);
    return bytes_of(gpu, args.out);
  });
}

TEST_P(CudaExecutorBitsOfCache, OfRotaryEmbeddingAndTheStore) {
  for (const auto& [which, with_all] :
       {std::pair(0, false), {1, false}, {2, false}, {0, true}, {1, true}, {2, true}}) {
    expect_the_executors([&](TestGpu& gpu) {
      constexpr std::int32_t kQueries = 6, kHeads = 2, kHeadDim = 64, kRows = 5;
      constexpr std::int64_t kStride = (kQueries + 2 * kHeads) * kHeadDim;
      const float* qkv = gpu.constant(random_floats(kRows * kStride, 3, 2.0f), "qkv");
      const auto angles = random_floats(40 * kHeadDim / 2, 4, 2.0f);
      std::vector<float> cos, sin;
      for (const float angle : angles) {
        cos.push_back(std::cos(angle));
        sin.push_back(std::sin(angle));
      }
      std::vector<RowPlace> places;
      for (std::int32_t i = 0; i < kRows; ++i) places.push_back({0, 13 + i});
      RopeKvArgs args{
          .q = qkv,
          .k = qkv + kQueries * kHeadDim,
          .v = qkv + (kQueries + kHeads) * kHeadDim,
          .stride = kStride,
          .cos = gpu.constant(cos, "cos"),
          .sin = gpu.constant(sin, "sin"),
          .places = gpu.constant(places, "places"),
          .tables = {gpu.constant(tables(3), "block tables"), 3},
          .rotated_q = gpu.blank<std::uint16_t>(kRows * kQueries * kHeadDim, "rotated_q"),
          .cache = cache(gpu, kHeads, kHeadDim, 3),
          .rows = kRows,
          .query_heads = kQueries};
      if (with_all) {  // as no family has them together
        args.bias = gpu.constant(random_floats(kStride, 6), "bias");
        args.query_norm = gpu.constant(random_floats(kHeadDim, 7), "norm of queries");
        args.key_norm = gpu.constant(random_floats(kHeadDim, 8), "norm of keys");
        args.eps = 1e-6f;
      }
      gpu.gpu().run(args);
      return which == 0   ? bytes_of(gpu, args.rotated_q)
             : which == 1 ? bytes_of(gpu, static_cast<std::uint8_t*>(args.cache.keys))
                          : bytes_of(gpu, static_cast<std::uint8_t*>(args.cache.values));
    });
  }
}

TEST_P(CudaExecutorBitsOfCache, OfAttention) {
  for (const bool in_parts : {false, true}) {
    expect_the_executors([&](TestGpu& gpu) {
      constexpr std::int32_t kQueries = 6, kHeads = 2, kHeadDim = 64, kBlocks = 40;
      const std::vector<RowPlace> places = {{0, 0}, {0, 255}, {0, 256}, {0, 639}};
      const auto rows = static_cast<std::int32_t>(places.size());
      const auto runs = head_runs(std::vector<std::int32_t>{0, 3, 6});
      const auto size = static_cast<std::size_t>(rows * kQueries * kHeadDim);
      AttentionArgs args{.q = gpu.constant(to_bf16(random_floats(size, 5)), "q"),
                         .cache = cache(gpu, kHeads, kHeadDim, kBlocks),
                         .tables = {gpu.constant(tables(kBlocks), "block tables"), kBlocks},
                         .places = gpu.constant(places, "places"),
                         .runs = gpu.constant(runs, "runs"),
                         .out = gpu.blank<std::uint16_t>(size, "out"),
                         .parts = nullptr,
                         .rows = rows,
                         .query_heads = kQueries,
                         .num_runs = static_cast<std::int32_t>(runs.size()),
                         .chunks = 3,
                         .scale = 0.125f};
      const auto floats = attention_part_floats(rows, args.chunks, kQueries, kHeadDim);
      if (in_parts) args.parts = gpu.blank<float>(static_cast<std::size_t>(floats), "parts");
      gpu.gpu().run(args);
      return bytes_of(gpu, args.out);
    });
  }
}

INSTANTIATE_TEST_SUITE_P(Formats, CudaExecutorBitsOfCache,
                         testing::Values(CacheFormat::bf16, CacheFormat::e4m3),
                         [](const auto& info) {
                           return info.param == CacheFormat::bf16 ? "bf16" : "e4m3";
                         });

}  // namespace
}  // namespace lockstep::kernels::cuda

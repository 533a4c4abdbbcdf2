// Weights of eight bits, on CPUs and on executors in the place of GPUs.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <tuple>

#include "kernels/byte_layout.h"
#include "kernels/weight_format.h"
#include "shard/rank_memory.h"
#include "tests/shard/formatted_llama.h"

namespace lockstep::shard {
namespace {

using kernels::DType;

// Little to allocate for weights of little size.
constexpr GpuLoadOptions kOnGpu{.staging_bytes = 1 << 17};

// What a matrix of one rank alone is on its GPU.
std::vector<std::byte> loaded_tiles(const model::Model& model, GpuMatrix GpuLayerWeights::*matrix,
                                    std::vector<float>& scales) {
  kernels::cuda::ExecutedGpu gpu(kernels::cuda::Runs::once);
  const GpuWeights weights =
      load_gpu_weights(model, partition_model(model.config, 1)[0], gpu, kOnGpu);
  const GpuMatrix& found = weights.layers[0].*matrix;
  const auto* bytes = static_cast<const std::byte*>(found.tiles.data());
  const auto* numbers = static_cast<const float*>(found.scales.data());
  scales.assign(numbers, numbers + found.scales.size() / sizeof(float));
  return {bytes, bytes + found.tiles.size()};
}

TEST(EightBitWeights, KeepsBytesAndTheirScalesAsTheyAreStored) {
  using kernels::cuda::TileFormat;
  for (const auto& [type, block, format] :
       {std::tuple{DType::i8, kOfRows, TileFormat::int8_channel},
        {DType::u8, kOfRows, TileFormat::int8_channel},
        {DType::e4m3, kOfRows, TileFormat::e4m3_channel},
        {DType::e4m3, kOfTensors, TileFormat::e4m3_channel},
        {DType::e4m3, kOfBlocks, TileFormat::e4m3_block}}) {
    const model::Model model = formatted(DType::bf16, {type}, block);
    const kernels::StoredMatrix stored =
        model.tensors->find("model.layers.0.mlp.down_proj.weight")->matrix();  // [256, 768]
    const auto* first = reinterpret_cast<const std::uint8_t*>(stored.values);
    std::vector<std::uint8_t> bytes(first, first + 256 * 768);
    if (type == DType::u8) {  // which count from -128
      for (std::uint8_t& byte : bytes) byte ^= 0x80;
    }
    std::vector<float> expected, scales;
    for (std::int64_t row = 0; row < 256; row += format == TileFormat::e4m3_block ? 16 : 1) {
      for (std::int64_t column = 0; column < (format == TileFormat::e4m3_block ? 768 : 32);
           column += 32) {
        expected.push_back(kernels::scale_at(stored, row, column));
        if (format == TileFormat::e4m3_block)
          expected.push_back(kernels::scale_at(stored, row + 8, column));
      }
    }
    const auto tiles = loaded_tiles(model, &GpuLayerWeights::down, scales);
    const auto packed = format == TileFormat::e4m3_block
                            ? kernels::cuda::pack_e4m3_blocks(
                                  bytes, [](std::int32_t, std::int32_t) { return 1.0f; }, 256, 768)
                            : kernels::cuda::pack_channels(format, bytes, expected, 256, 768);
    EXPECT_EQ(tiles, packed.tiles) << static_cast<int>(format);
    EXPECT_EQ(scales, expected) << static_cast<int>(format);
  }
}

// Groups of bytes with a scale each: what the CPU keeps as q8 has the same numbers here.
TEST(EightBitWeights, KeepsGroupsOfBytesWithTheirScales) {
  for (const DType type : {DType::q8_0, DType::q6_k, DType::u8}) {
    const model::Model model = formatted(DType::bf16, {type});
    const model::Tensor& tensor = *model.tensors->find("model.layers.0.mlp.down_proj.weight");
    std::vector<kernels::cuda::Int8Group> groups;
    for (std::int64_t row = 0; row < 256; ++row) {
      for (std::int64_t i = 0; i < 768 / kernels::kGroup; ++i) {
        const auto read = kernels::weight_format(type).read_group(tensor.matrix(), row, i);
        std::ranges::copy(read.values, groups.emplace_back().values);
        groups.back().scale = read.scale;
      }
    }
    std::vector<float> scales;
    const auto tiles = loaded_tiles(model, &GpuLayerWeights::down, scales);
    EXPECT_EQ(tiles, kernels::cuda::pack_int8(groups, 256, 768).tiles) << kernels::name(type);
    EXPECT_THAT(scales, testing::IsEmpty());
  }
}

// A rank's memory is told to the byte, on CPUs by rank_memory_test.cc.
TEST(EightBitWeights, TakesTheMemoryThatAPlanTells) {
  for (const auto& [type, block] : {std::pair{DType::i8, kOfRows},
                                    {DType::e4m3, kOfRows},
                                    {DType::e4m3, kOfBlocks},
                                    {DType::u8, kOfRows},
                                    {DType::u8, kOfBlocks},
                                    {DType::u4, kOfBlocks},
                                    {DType::u4_zeros, kOfRows},
                                    {DType::gptq_8, kOfBlocks},
                                    {DType::q4_1, kOfBlocks},
                                    {DType::q8_0, kOfBlocks},
                                    {DType::q6_k, kOfBlocks}}) {
    const model::Model model = formatted(DType::bf16, {type}, block);
    const ModelShape shape{.config = model.config, .format = [&](const std::string& name) {
                             return matrix_format(*model.tensors->find(name));
                           }};
    for (const int world : {1, 2, 3}) {
      const auto told = rank_memory(shape, Device::cuda, world, 1, {.max_positions = 64});
      for (int rank = 0; rank < world; ++rank) {
        kernels::cuda::ExecutedGpu gpu(kernels::cuda::Runs::once);
        const auto part = partition_model(model.config, world)[static_cast<std::size_t>(rank)];
        EXPECT_EQ(told[static_cast<std::size_t>(rank)].weights,
                  load_gpu_weights(model, part, gpu, kOnGpu).bytes())
            << kernels::name(type) << ' ' << rank << " of " << world;
      }
    }
  }
}

TEST(EightBitWeights, LeavesE4m3AsItIsWhereOthersAreRoundedToIt) {
  const model::Model model = formatted(DType::bf16, {DType::e4m3}, kOfRows);
  EXPECT_EQ(loaded(model, {.fp8 = true}), loaded(model, {}));
  EXPECT_THAT([] { loaded(formatted(DType::bf16, {DType::i8}), {.fp8 = true}); },
              testing::ThrowsMessage<Error>(testing::HasSubstr("q_proj.weight is i8")));
}

TEST(EightBitWeights, RefusesANanByItsTensorAndRow) {
  const model::Model model = formatted(DType::bf16, {DType::e4m3});
  const std::string name = "model.layers.0.mlp.down_proj.weight";
  auto& tensors = dynamic_cast<FormattedTensors&>(*model.tensors);
  tensors.matrix(name).bytes[200 * 768 + 767] = std::byte{0xff};
  const auto says = testing::ThrowsMessage<Error>(
      testing::HasSubstr("random: tensor '" + name + "': row 200 has a NaN"));
  const auto parts = partition_model(model.config, 2);
  EXPECT_THAT(
      [&] {
        kernels::ThreadPool pool(2);
        load_weights(model, parts[1], pool);
      },
      says);
  EXPECT_THAT(
      [&] {
        kernels::cuda::ExecutedGpu gpu(kernels::cuda::Runs::once);
        load_gpu_weights(model, parts[1], gpu, {.threads = 2});
      },
      says);
  // The other rank has other columns of it.
  kernels::ThreadPool pool(2);
  load_weights(model, parts[0], pool);
}

// Weights are exact on both devices (i8's scales have few bits here): what differs is activations
// and cache in bf16.
TEST(EightBitWeights, AreNearDoublePrecisionOnBothDevicesAtEveryWorldSize) {
  for (const auto& [outer, projections, block] :
       {std::tuple{DType::bf16, std::vector{DType::i8}, kOfRows},
        {DType::bf16, {DType::e4m3}, kOfBlocks},
        {DType::e4m3, {DType::e4m3}, kOfRows},
        {DType::f32, {DType::e4m3, DType::bf16, DType::e4m3, DType::i8}, kOfTensors}}) {
    const model::Model model = formatted(outer, projections, block);
    const auto expected = Reference(model).last_logits({29, 5, 71});
    double scale = 0;
    for (const double value : expected) scale = std::max(scale, std::fabs(value));
    for (const bool on_gpu : {false, true}) {
      const auto found = few_logits(model, 1, on_gpu, kOnGpu);
      ASSERT_EQ(found.size(), expected.size());
      double difference = 0;
      for (std::size_t i = 0; i < found.size(); ++i) {
        difference = std::max(difference, std::fabs(found[i] - expected[i]));
      }
      EXPECT_LT(difference, 0.02 * scale) << kernels::name(projections[0]) << on_gpu;
      for (const int world : {2, 3}) EXPECT_EQ(few_logits(model, world, on_gpu, kOnGpu), found);
    }
  }
}

}  // namespace
}  // namespace lockstep::shard

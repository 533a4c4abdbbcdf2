// Folders with weights of eight bits, and of four in words: what they hold, and their faults.
#include "model/hf_byte_quantization.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "kernels/packed_matrix.h"
#include "model/model.h"
#include "model/outline.h"
#include "tests/kernels/random_matrix.h"
#include "tests/model/expect_error.h"
#include "tests/model/tiny_llama.h"

namespace lockstep::model {
namespace {

using kernels::DType;
using kernels::RandomMatrix;
using nlohmann::json;

bool is_projection(const std::string& name) { return name.ends_with("_proj.weight"); }

std::string text_of(const std::vector<std::byte>& bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// What compressed-tensors writes, as far as it is looked at.
json compressed(const char* type, const char* strategy, const json& block = nullptr) {
  return {{"quant_method", "compressed-tensors"},
          {"format", std::string(type) + "-quantized"},
          {"quantization_status", "compressed"},
          {"ignore", {"lm_head"}},
          {"kv_cache_scheme", nullptr},
          {"config_groups",
           {{"group_0",
             {{"targets", {"Linear"}},
              {"weights",
               {{"num_bits", 8},
                {"type", type},
                {"symmetric", true},
                {"dynamic", false},
                {"strategy", strategy},
                {"group_size", nullptr},
                {"block_structure", block}}},
              {"input_activations",
               {{"num_bits", 8}, {"type", type}, {"strategy", "token"}, {"dynamic", true}}},
              {"output_activations", nullptr}}}}}};
}

// Numbers in words, as for activations that are not rounded.
json packed(int bits, const char* strategy, const json& group_size = nullptr) {
  json made = compressed("int", strategy);
  made["format"] = "pack-quantized";
  json& group = made["config_groups"]["group_0"];
  group["weights"]["num_bits"] = bits;
  group["weights"]["group_size"] = group_size;
  group["weights"]["actorder"] = "weight";
  group["input_activations"] = nullptr;
  return made;
}

json packed_with_zeros(const char* strategy, const json& group_size = nullptr) {
  json made = packed(4, strategy, group_size);
  made["config_groups"]["group_0"]["weights"]["symmetric"] = false;
  return made;
}

const json kFp8{{"quant_method", "fp8"}, {"activation_scheme", "static"}};
const json kFp8Block{{"quant_method", "fp8"},
                     {"fmt", "e4m3"},
                     {"activation_scheme", "dynamic"},
                     {"weight_block_size", {32, 32}}};
const json kFbgemm{{"quant_method", "fbgemm_fp8"}, {"activation_scale_ub", 1200.0}};

// How a folder stores its projections.
struct Kind {
  const char* name;
  json quantization;
  DType type;
  DType scale_type;
  std::int64_t scale_rows, scale_columns;  // -1: all
  const char* scale = ".weight_scale";
  bool flat = false;                      // scales lack their last dimension of 1
  std::vector<const char*> further = {};  // parts that say nothing of the weights
};

const std::vector<Kind> kKinds{
    {"fp8", kFp8, DType::e4m3, DType::f32, -1, -1, ".weight_scale", true, {".input_scale"}},
    {"fp8_transformers",
     kFp8,
     DType::e4m3,
     DType::bf16,
     -1,
     -1,
     ".weight_scale_inv",
     true,
     {".activation_scale"}},
    {"fp8_block", kFp8Block, DType::e4m3, DType::f32, 32, 32, ".weight_scale_inv"},
    {"fbgemm", kFbgemm, DType::e4m3, DType::f32, 1, -1},
    {"float_channel", compressed("float", "channel"), DType::e4m3, DType::bf16, 1, -1},
    {"float_channel_flat", compressed("float", "channel"), DType::e4m3, DType::bf16, 1, -1,
     ".weight_scale", true},
    {"float_tensor", compressed("float", "tensor"), DType::e4m3, DType::f16, -1, -1},
    {"float_block", compressed("float", "block", {32, 32}), DType::e4m3, DType::bf16, 32, 32},
    {"int_channel", compressed("int", "channel"), DType::i8, DType::bf16, 1, -1},
    {"int_channel_f32",
     compressed("int", "channel"),
     DType::i8,
     DType::f32,
     1,
     -1,
     ".weight_scale",
     false,
     {".weight_zero_point", ".input_scale", ".input_zero_point", ".bias"}},
    {"int_tensor", compressed("int", "tensor"), DType::i8, DType::f16, -1, -1},
    {"int4_group", packed(4, "group", 32), DType::u4, DType::bf16, 1, 32},
    {"int4_group_f32", packed(4, "group", 64), DType::u4, DType::f32, 1, 64},
    {"int4_channel", packed(4, "channel"), DType::u4, DType::f16, 1, -1},
    {"int4_tensor", packed(4, "tensor"), DType::u4, DType::f32, -1, -1},
    {"int4_zeros_group", packed_with_zeros("group", 32), DType::u4_zeros, DType::bf16, 1, 32},
    {"int4_zeros_group_f16", packed_with_zeros("group", 64), DType::u4_zeros, DType::f16, 1, 64},
    {"int4_zeros_channel", packed_with_zeros("channel"), DType::u4_zeros, DType::f32, 1, -1},
    {"int8_group", packed(8, "group", 32), DType::u8, DType::bf16, 1, 32},
    {"int8_channel", packed(8, "channel"), DType::u8, DType::bf16, 1, -1},
};

const Kind& kind(std::string_view name) {
  for (const Kind& each : kKinds) {
    if (each.name == name) return each;
  }
  throw Error("no such kind");
}

const char* dtype_text(DType type) {
  switch (type) {
    case DType::f32: return "F32";
    case DType::f16: return "F16";
    case DType::bf16: return "BF16";
    case DType::i8: return "I8";
    case DType::u4:
    case DType::u4_zeros:
    case DType::u8: return "I32";
    default: return "F8_E4M3";
  }
}

// The tiny model with random projections in eight bits.
struct ByteFolder {
  explicit ByteFolder(const Kind& kind) : kind(kind) {
    files.config["quantization_config"] = kind.quantization;
    std::mt19937 random(37);
    for (const TinyTensor& tensor : tiny_tensors()) {
      if (!is_projection(tensor.hf_name)) continue;
      const auto rows = tensor.shape[0], columns = tensor.shape[1];
      RandomMatrix matrix{kind.type, rows, columns, {}, {}, {}, {}};
      matrix.scale_type = kind.scale_type;
      matrix.scale_rows = kind.scale_rows == -1 ? rows : kind.scale_rows;
      matrix.scale_columns = kind.scale_columns == -1 ? columns : kind.scale_columns;
      kernels::MatrixWriter(random).write_bytes(matrix);
      matrices.emplace(tensor.hf_name, std::move(matrix));
    }
    write_weights();
  }

  // The parts of `matrices`, and the other tensors in f32; those first, for they are aligned.
  void write_weights() {
    weights = {};
    for (const TinyTensor& tensor : tiny_tensors()) {
      if (matrices.contains(tensor.hf_name)) continue;
      weights.add(tensor.hf_name, "F32", tensor.shape, tiny_hf_bytes(tensor));
    }
    for (const auto& [name, matrix] : matrices) {
      write_parts(name.substr(0, name.size() - 7), matrix);
    }
  }

  void write_parts(const std::string& module, const RandomMatrix& matrix) {
    const bool in_words = dtype_text(kind.type) == std::string("I32");
    const std::int64_t in_word = !in_words ? 1 : kind.type == DType::u8 ? 4 : 8;
    weights.add(module + (in_words ? ".weight_packed" : ".weight"), dtype_text(kind.type),
                {matrix.rows, matrix.columns / in_word}, text_of(matrix.bytes));
    if (in_words) {
      weights.add(module + ".weight_shape", "I64", {2},
                  bytes_of(matrix.rows) + bytes_of(matrix.columns));
    }
    const auto blocks = [](std::int64_t size, std::int64_t block) {
      return (size + block - 1) / block;
    };
    std::vector<std::int64_t> shape{blocks(matrix.rows, matrix.scale_rows),
                                    blocks(matrix.columns, matrix.scale_columns)};
    if (kind.flat) shape.pop_back();
    if (shape == std::vector<std::int64_t>{1}) shape.clear();  // a single number
    weights.add(module + kind.scale, dtype_text(kind.scale_type), shape, text_of(matrix.scales));
    if (!matrix.zeros.empty()) {
      weights.add(module + ".weight_zero_point", "I32", {blocks(matrix.rows, 8), shape.back()},
                  text_of(matrix.zeros));
    }
    for (const char* part : kind.further) {
      weights.add(module + part, "BF16", {matrix.rows, 1}, std::string(2 * matrix.rows, '\0'));
    }
  }

  void write(const TempFolder& folder) const {
    files.write(folder);
    folder.write("model.safetensors", weights.build());
  }

  Model open() const {
    const TempFolder folder;
    write(folder);
    return open_model(folder.path());
  }

  json& quantization() { return files.config["quantization_config"]; }

  Kind kind;
  TinyFolder files = tiny_folder();
  SafetensorsWriter weights;
  std::map<std::string, RandomMatrix> matrices;
};

void expect_matrices(const ByteFolder& folder) {
  const Model model = folder.open();
  for (const auto& [name, matrix] : folder.matrices) {
    SCOPED_TRACE(name);
    const std::int64_t shape[]{matrix.rows, matrix.columns};
    const kernels::StoredMatrix stored = model.tensors->require(name, shape).matrix();
    EXPECT_EQ(stored.type, folder.kind.type);
    kernels::Arena arena;
    kernels::PackedMatrix packed(kernels::packed_format(stored.type), stored.rows, stored.columns,
                                 arena);
    std::vector<float> values(static_cast<std::size_t>(stored.columns));
    for (std::int64_t row = 0; row < stored.rows; ++row) {
      packed.set_row(row, stored, row, 0);
      packed.get_row(row, values);
      for (std::int64_t k = 0; k < stored.columns; ++k) {
        const auto at = static_cast<std::size_t>(row * stored.columns + k);
        // Exact, but for the rounding of the product in f32.
        ASSERT_FLOAT_EQ(values[static_cast<std::size_t>(k)], static_cast<float>(matrix.values[at]));
      }
    }
  }
}

class HfBytes : public testing::TestWithParam<Kind> {};

TEST_P(HfBytes, GivesEveryMatrixWithItsScales) { expect_matrices(ByteFolder(GetParam())); }

INSTANTIATE_TEST_SUITE_P(All, HfBytes, testing::ValuesIn(kKinds),
                         [](const auto& info) { return info.param.name; });

TEST(HfByteQuantization, LeavesOutWhatAnotherProgramsCacheIsScaledBy) {
  ByteFolder folder(kind("fp8"));
  folder.quantization()["kv_cache_scheme"] = "static";
  for (const char* scale : {".k_scale", ".v_scale"}) {
    folder.weights.add("model.layers.1.self_attn" + std::string(scale), "F32", {}, bytes_of(1.0f));
  }
  expect_matrices(folder);
}

TEST(HfByteQuantization, MayKeepActivationsInSixteenBits) {
  ByteFolder folder(kind("int_channel"));
  folder.quantization()["config_groups"]["group_0"]["input_activations"] = nullptr;
  expect_matrices(folder);
}

TEST(HfByteQuantization, MayLeaveMatricesAsTheyWere) {
  ByteFolder folder(kind("float_channel"));
  const std::string name = "model.layers.1.mlp.down_proj.weight";
  folder.matrices.erase(name);
  folder.write_weights();
  EXPECT_EQ(folder.open().tensors->find(name)->dtype, DType::f32);
  expect_matrices(folder);
}

TEST(HfByteQuantization, TakesWhatWritersOf2024SaidOfTheSameFiles) {
  for (const char* name : {"float_channel", "int_channel"}) {
    ByteFolder folder(kind(name));
    json& said = folder.quantization();
    said["format"] = "naive-quantized";
    said["quantization_status"] = "frozen";
    said["sparsity_config"] = {{"format", "dense"}, {"global_sparsity", 0.14}};
    expect_matrices(folder);
  }
}

// Adds an order of columns to a projection of 32 of them.
void add_order(ByteFolder& folder, const std::string& module, std::int32_t group_of_column_9) {
  std::string order;
  for (std::int32_t k = 0; k < 32; ++k) order += bytes_of(k == 9 ? group_of_column_9 : 0);
  folder.weights.add(module + ".weight_g_idx", "I32", {32}, order);
}

TEST(HfByteQuantization, TakesWordsInAnOrderThatMovesNothingAndWithoutTheirShape) {
  ByteFolder folder(kind("int4_group"));
  add_order(folder, "model.layers.0.mlp.up_proj", 0);
  auto& header = folder.weights.header;
  const auto shape = header.find("model.layers.1.mlp.up_proj.weight_shape");
  header["model.layers.1.mlp.up_proj.activation_scale"] = *shape;
  header.erase("model.layers.1.mlp.up_proj.weight_shape");
  expect_matrices(folder);
}

TEST(HfByteQuantization, IsPlanned) {
  const ByteFolder tiny(kind("fp8_block"));
  const TempFolder folder;
  tiny.write(folder);
  const Outline outline = read_outline(folder.path());
  const Tensor* tensor = outline.tensors->find("model.layers.0.mlp.up_proj.weight");
  ASSERT_NE(tensor, nullptr);
  EXPECT_EQ(tensor->dtype, DType::e4m3);
  EXPECT_EQ(tensor->scale_columns, 32);
}

struct BadConfig {
  const char* name;
  const char* kind;
  const char* field;  // a JSON pointer below quantization_config
  json value;
  std::vector<std::string> says;
};

class BadByteQuantization : public testing::TestWithParam<BadConfig> {};

TEST_P(BadByteQuantization, IsRefusedByFileAndField) {
  const BadConfig& bad = GetParam();
  ByteFolder folder(kind(bad.kind));
  folder.quantization()[json::json_pointer(bad.field)] = bad.value;
  expect_error([&] { folder.open(); }, bad.says);
}

const std::string kField = "/config.json: quantization_config.";
const std::string kGroup = kField + "config_groups.group_0.";
INSTANTIATE_TEST_SUITE_P(
    Config, BadByteQuantization,
    testing::Values(
        BadConfig{"Scheme",
                  "fp8",
                  "/activation_scheme",
                  "per_token",
                  {kField + "activation_scheme: 'per_token' is not supported; supported are "
                            "dynamic, static"}},
        BadConfig{"Fmt",
                  "fp8_block",
                  "/fmt",
                  "e5m2",
                  {kField + "fmt: 'e5m2' is not supported; supported are e4m3"}},
        BadConfig{"BlockOfOne",
                  "fp8_block",
                  "/weight_block_size",
                  json{128},
                  {kField + "weight_block_size: is not a pair of multiples of 32"}},
        BadConfig{"NarrowBlock",
                  "fp8_block",
                  "/weight_block_size",
                  json{128, 16},
                  {kField + "weight_block_size: is not a pair of multiples of 32"}},
        BadConfig{"NegativeBlock",
                  "fp8_block",
                  "/weight_block_size",
                  json{-32, 32},
                  {kField + "weight_block_size: is not a pair of multiples of 32"}},
        BadConfig{"Format",
                  "float_channel",
                  "/format",
                  "nvfp4-pack-quantized",
                  {kField + "format: 'nvfp4-pack-quantized' is not supported; supported are "
                            "float-quantized, int-quantized, naive-quantized, pack-quantized"}},
        BadConfig{"NoFormat", "float_channel", "/format", nullptr, {kField + "format: is missing"}},
        BadConfig{"Status",
                  "float_channel",
                  "/quantization_status",
                  "calibration",
                  {kField + "quantization_status: 'calibration' is not supported; supported are "
                            "compressed, frozen"}},
        BadConfig{"Sparse",
                  "float_channel",
                  "/sparsity_config",
                  json{{"format", "sparse-24-bitmask"}},
                  {kField + "sparsity_config.format: 'sparse-24-bitmask' is not supported; "
                            "supported are dense"}},
        BadConfig{"NoGroups",
                  "float_channel",
                  "/config_groups",
                  json::object(),
                  {kField + "config_groups: is missing"}},
        BadConfig{"TwoLayouts",
                  "float_channel",
                  "/config_groups/group_1",
                  compressed("float", "tensor")["config_groups"]["group_0"],
                  {kField + "config_groups: layouts that differ between groups"}},
        BadConfig{"NoWeights",
                  "float_channel",
                  "/config_groups/group_0/weights",
                  nullptr,
                  {kGroup + "weights: is missing"}},
        BadConfig{"FourBits",
                  "int_channel",
                  "/config_groups/group_0/weights/num_bits",
                  4,
                  {kGroup + "weights.num_bits: 4 is not supported; supported is 8"}},
        BadConfig{"TwoBits",
                  "int4_group",
                  "/config_groups/group_0/weights/num_bits",
                  2,
                  {kGroup + "weights.num_bits: 2 is not supported; supported are 4, 8"}},
        BadConfig{"NoGroupSize",
                  "int4_group",
                  "/config_groups/group_0/weights/group_size",
                  nullptr,
                  {kGroup + "weights.group_size: is missing"}},
        BadConfig{"NarrowGroup",
                  "int4_group",
                  "/config_groups/group_0/weights/group_size",
                  16,
                  {kGroup + "weights.group_size: 16 is not a multiple of 32"}},
        BadConfig{"UnknownOrder",
                  "int4_group",
                  "/config_groups/group_0/weights/actorder",
                  "random",
                  {kGroup + "weights.actorder: 'random' is not supported; supported are group, "
                            "dynamic, weight, static"}},
        BadConfig{"OrderWithoutWords",
                  "int_channel",
                  "/config_groups/group_0/weights/actorder",
                  "group",
                  {kGroup + "weights.actorder: is not supported with format int-quantized"}},
        BadConfig{"AsymmetricBytesInWords",
                  "int8_group",
                  "/config_groups/group_0/weights/symmetric",
                  false,
                  {kGroup + "weights.symmetric: false is not supported with num_bits 8"}},
        BadConfig{
            "AZeroPointForATensor",
            "int4_zeros_channel",
            "/config_groups/group_0/weights/strategy",
            "tensor",
            {kGroup + "weights.strategy: 'tensor' is not supported where symmetric is false"}},
        BadConfig{"BlocksOfWords",
                  "int8_group",
                  "/config_groups/group_0/weights/strategy",
                  "block",
                  {kGroup + "weights.strategy: 'block' is not supported; supported are tensor, "
                            "channel, group"}},
        BadConfig{"OtherType",
                  "int_channel",
                  "/config_groups/group_0/weights/type",
                  "float",
                  {kGroup + "weights.type: 'float' is not supported; supported are int"}},
        BadConfig{"Asymmetric",
                  "int_channel",
                  "/config_groups/group_0/weights/symmetric",
                  false,
                  {kGroup + "weights.symmetric: false is not supported"}},
        BadConfig{"IntBlocks",
                  "int_channel",
                  "/config_groups/group_0/weights/strategy",
                  "block",
                  {kGroup + "weights.strategy: 'block' is not supported; supported are tensor, "
                            "channel"}},
        BadConfig{"Groups",
                  "float_channel",
                  "/config_groups/group_0/weights/strategy",
                  "group",
                  {kGroup + "weights.strategy: 'group' is not supported; supported are tensor, "
                            "channel, block"}},
        BadConfig{"NoBlock",
                  "float_block",
                  "/config_groups/group_0/weights/block_structure",
                  nullptr,
                  {kGroup + "weights.block_structure: is missing"}},
        BadConfig{"FourBitActivations",
                  "float_channel",
                  "/config_groups/group_0/input_activations/num_bits",
                  4,
                  {kGroup + "input_activations.num_bits: 4 is not supported; supported is 8"}},
        BadConfig{"ActivationScheme",
                  "int_channel",
                  "/config_groups/group_0/input_activations/strategy",
                  "attn_head",
                  {kGroup + "input_activations.strategy: 'attn_head' is not supported"}},
        BadConfig{"Outputs",
                  "float_channel",
                  "/config_groups/group_0/output_activations",
                  json{{"num_bits", 8}},
                  {kGroup + "output_activations: are not supported"}}),
    [](const auto& info) { return info.param.name; });

struct BadPart {
  const char* name;
  const char* kind;
  std::function<void(ByteFolder&)> change;
  std::vector<std::string> says;
};

class BadByteTensor : public testing::TestWithParam<BadPart> {};

TEST_P(BadByteTensor, IsRefusedByName) {
  ByteFolder folder(kind(GetParam().kind));
  GetParam().change(folder);
  expect_error([&] { folder.open(); }, GetParam().says);
}

const std::string kModule = "model.layers.0.mlp.up_proj";  // [64, 32]

std::function<void(ByteFolder&)> without(const std::string& part) {
  return [=](ByteFolder& folder) {
    auto& header = folder.weights.header;
    header[kModule + ".other"] = header[kModule + part];
    header.erase(kModule + part);
  };
}

std::function<void(ByteFolder&)> with(const std::string& part, const char* member,
                                      const json& value) {
  return [=](ByteFolder& folder) { folder.weights.header[kModule + part][member] = value; };
}

// Overwrites number `index` of the scales, which are f32.
std::function<void(ByteFolder&)> scaled(const std::string& part, std::size_t index, float scale) {
  return [=](ByteFolder& folder) {
    const auto begin = folder.weights.header[kModule + part]["data_offsets"][0].get<std::size_t>();
    std::memcpy(folder.weights.data.data() + begin + 4 * index, &scale, sizeof scale);
  };
}

const std::string kScale = "tensor '" + kModule + ".weight_scale': ";
INSTANTIATE_TEST_SUITE_P(
    Parts, BadByteTensor,
    testing::Values(
        BadPart{"NoScale",
                "float_channel",
                without(".weight_scale"),
                {"/model.safetensors: " + kScale + "is missing"}},
        BadPart{"NoBlockScale", "fp8_block", without(".weight_scale_inv"), {kScale + "is missing"}},
        BadPart{"ScaleOfIntegers",
                "fbgemm",
                with(".weight_scale", "dtype", "I32"),
                {kScale + "type i32 is not f32, f16 or bf16"}},
        BadPart{"TurnedScales",
                "fbgemm",
                with(".weight_scale", "shape", {1, 64}),
                {kScale + "shape [1, 64]; the matrix [64, 32] and quantization_config ask for "
                          "[64, 1]"}},
        BadPart{"ScalesOfBlocks",
                "fp8_block",
                with(".weight_scale_inv", "shape", {1, 2}),
                {"tensor '" + kModule + ".weight_scale_inv': shape [1, 2]", "ask for [2, 1]"}},
        BadPart{"ScalesOfRowsForATensor",
                "float_channel",
                [](ByteFolder& folder) { folder.quantization() = compressed("float", "tensor"); },
                {"_proj.weight_scale': shape [32, 1]", "ask for [1, 1]"}},
        BadPart{"Nan",
                "fbgemm",
                scaled(".weight_scale", 63, std::nanf("")),
                {kScale + "number 63 is nan; a scale of e4m3 is at least 1e-30 and at most 1e+30"}},
        BadPart{"Zero",
                "fbgemm",
                scaled(".weight_scale", 5, 0.0f),
                {kScale + "number 5 is 0; a scale of e4m3 is at least 1e-30"}},
        BadPart{"Negative",
                "fp8_block",
                scaled(".weight_scale_inv", 1, -0.5f),
                {"weight_scale_inv': number 1 is -0.5; a scale"}},
        BadPart{"Infinite",
                "fp8",
                scaled(".weight_scale", 0, INFINITY),
                {kScale + "number 0 is inf; a scale"}},
        BadPart{"BeyondF16",
                "int_channel_f32",
                scaled(".weight_scale", 2, 65520.0f),
                {kScale + "number 2 is 65520; a scale of i8 is at least 1e-30 and at most 65504"}},
        BadPart{"ZeroPoint",
                "int_channel_f32",
                scaled(".weight_zero_point", 0, 1.0f),
                {"tensor '" + kModule + ".weight_zero_point': is not zero: zero points are not"}},
        BadPart{"Bias",
                "int_channel_f32",
                scaled(".bias", 0, 1.0f),
                {"tensor '" + kModule + ".bias' is not one of a llama model"}},
        BadPart{"OtherType",
                "float_channel",
                with(".weight", "dtype", "I8"),
                {"tensor '" + kModule + ".weight': type i8; quantization_config says e4m3"}},
        BadPart{"NoScaleOfWords",
                "int4_group",
                without(".weight_scale"),
                {"/model.safetensors: " + kScale + "is missing"}},
        BadPart{"ScalesOfOtherGroups",
                "int4_group",
                [](ByteFolder& folder) { folder.quantization() = packed(4, "channel"); },
                {".weight_scale': shape [", "ask for ["}},
        BadPart{"BeyondF16TimesEight",
                "int4_group_f32",
                scaled(".weight_scale", 2, 8192.0f),
                {kScale + "number 2 is 8192; a scale of u4 is at least 1e-30 and at most 8188"}},
        BadPart{"NoZeroPoints",
                "int4_zeros_group",
                without(".weight_zero_point"),
                {"tensor '" + kModule + ".weight_zero_point': is missing"}},
        BadPart{"ZeroPointsOfColumns",
                "int4_zeros_group",
                with(".weight_zero_point", "shape", {1, 8}),
                {"tensor '" + kModule + ".weight_zero_point': shape [1, 8]", "[8, 1]"}},
        BadPart{"ZeroPointsOfFloats",
                "int4_zeros_group",
                with(".weight_zero_point", "dtype", "F32"),
                {"tensor '" + kModule + ".weight_zero_point': type f32 is not i32"}},
        BadPart{
            "BeyondF16TimesFifteen",
            "int4_zeros_channel",
            scaled(".weight_scale", 2, 4368.0f),
            {kScale + "number 2 is 4368; a scale of u4_zeros is at least 1e-30 and at most 4366"}},
        BadPart{"WordsOfEightBits",
                "int4_group",
                [](ByteFolder& folder) { folder.quantization() = packed(8, "group", 32); },
                {"weight_shape': says [", "the words are those of a matrix ["}},
        BadPart{"WordsOfFloats",
                "int4_group",
                with(".weight_packed", "dtype", "F32"),
                {"tensor '" + kModule + ".weight_packed': type f32 is not i32"}},
        BadPart{"OrderThatIsMissing",
                "int4_group",
                [](ByteFolder& folder) {
                  folder.quantization()["config_groups"]["group_0"]["weights"]["actorder"] =
                      "group";
                },
                {"_proj.weight_g_idx': is missing"}},
        BadPart{"ShapeOfFloats",
                "int4_group",
                [](ByteFolder& folder) {
                  auto& shape = folder.weights.header[kModule + ".weight_shape"];
                  shape["dtype"] = "F32", shape["shape"] = {4};
                },
                {"tensor '" + kModule +
                 ".weight_shape': type f32, shape [4]; a matrix's shape is two numbers"}},
        BadPart{"WordsInOneDimension",
                "int4_group",
                with(".weight_packed", "shape", {256}),
                {"tensor '" + kModule + ".weight_packed': shape [256] is not that of a matrix"}},
        BadPart{"NarrowWords",
                "int4_group",
                with(".weight_packed", "shape", {128, 2}),
                {"tensor '" + kModule +
                 ".weight_packed': stands for a matrix [128, 16]; its columns must be a multiple "
                 "of 32"}},
        BadPart{"WordsWithoutAnyConfig",
                "int4_group",
                [](ByteFolder& folder) { folder.files.config.erase("quantization_config"); },
                {".weight_packed': is packed, but config.json has no quantization_config"}},
        BadPart{"WordsWithoutConfig",
                "int4_group",
                [](ByteFolder& folder) { folder.quantization() = compressed("int", "channel"); },
                {".weight_packed': is packed, which quantization_config does not say"}},
        BadPart{"ActivationOrder",
                "int4_group",
                [](ByteFolder& folder) { add_order(folder, kModule, 1); },
                {"tensor '" + kModule + ".weight_g_idx': column 9 is of group 1, not 0"}},
        BadPart{"NarrowMatrix",
                "float_channel",
                with(".weight", "shape", {128, 16}),
                {"tensor '" + kModule +
                 ".weight': shape [128, 16] is not that of a matrix whose "
                 "columns are a multiple of 32"}},
        BadPart{"NoConfig",
                "float_channel",
                [](ByteFolder& folder) { folder.files.config.erase("quantization_config"); },
                {"_proj.weight': type e4m3, but config.json has no quantization_config"}},
        BadPart{
            "ConfigOfWords",
            "float_channel",
            [](ByteFolder& folder) {
              folder.quantization() = {{"quant_method", "gptq"}, {"bits", 4}, {"group_size", 32}};
            },
            {"_proj.weight': type e4m3; quantization_config says gptq"}},
        BadPart{"WordsInAFolderOfBytes",
                "float_channel",
                [](ByteFolder& folder) {
                  folder.weights.add(kModule + ".qweight", "I32", {1}, "abcd");
                },
                {"tensor '" + kModule + ".qweight': is of gptq or awq"}},
        BadPart{"NormsOfBytes",
                "float_channel",
                [](ByteFolder& folder) {
                  auto& norm = folder.weights.header["model.norm.weight"];
                  norm["dtype"] = "I8", norm["shape"] = {128};
                },
                {"tensor 'model.norm.weight': type i8"}},
        BadPart{"ScaleWithoutMatrix",
                "float_channel",
                [](ByteFolder& folder) {
                  folder.weights.add("lm_head.weight_scale", "F32", {}, bytes_of(1.0f));
                },
                {"tensor 'lm_head.weight_scale' is not one of a llama model"}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace lockstep::model

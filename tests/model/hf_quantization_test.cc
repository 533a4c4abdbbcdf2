// Folders that GPTQ and AWQ quantized: what they hold, and their faults.
#include "model/hf_quantization.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "kernels/gptq_layout.h"
#include "kernels/half.h"
#include "kernels/load.h"
#include "kernels/packed_matrix.h"
#include "model/model.h"
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

bool is_gptq(DType type) { return type == DType::gptq || type == DType::gptq_8; }

// The tiny model with random projections, quantized.
struct QuantizedFolder {
  explicit QuantizedFolder(DType type, std::int64_t group_size = 32, std::uint32_t zero_offset = 0)
      : type(type) {
    const bool gptq = is_gptq(type);
    files.config["quantization_config"] = {
        {"quant_method", gptq ? "gptq" : "awq"}, {"bits", 4}, {"group_size", group_size}};
    quantization()[gptq ? "checkpoint_format" : "version"] = !gptq              ? "gemm"
                                                             : zero_offset == 0 ? "gptq_v2"
                                                                                : "gptq";
    std::mt19937 random(31);
    for (const TinyTensor& tensor : tiny_tensors()) {
      if (!is_projection(tensor.hf_name)) continue;
      const auto rows = tensor.shape[0], columns = tensor.shape[1];
      RandomMatrix matrix{type, rows, columns, {}, {}, {}, {}, 0, zero_offset};
      matrix.group_size = group_size == -1 ? columns : group_size;
      kernels::MatrixWriter(random).write_words(matrix);
      matrices.emplace(tensor.hf_name, std::move(matrix));
    }
  }

  json& quantization() { return files.config["quantization_config"]; }

  // The parts of the quantized matrices, and the other tensors in f32.
  void write_weights() {
    for (const TinyTensor& tensor : tiny_tensors()) {
      if (is_projection(tensor.hf_name)) {
        const std::string module = tensor.hf_name.substr(0, tensor.hf_name.size() - 7);
        write_parts(module, matrices.at(tensor.hf_name));
      } else {
        weights.add(tensor.hf_name, "F32", tensor.shape, tiny_hf_bytes(tensor));
      }
    }
  }

  void write_parts(const std::string& module, const RandomMatrix& matrix) {
    const auto rows = matrix.rows, columns = matrix.columns;
    const auto groups = (columns + matrix.group_size - 1) / matrix.group_size;
    const std::vector<std::int64_t> shape =
        is_gptq(type) ? std::vector{columns / 8, rows} : std::vector{columns, rows / 8};
    weights.add(module + ".qweight", "I32", shape, text_of(matrix.bytes));
    weights.add(module + ".qzeros", "I32", {groups, rows / 8}, text_of(matrix.zeros));
    weights.add(module + ".scales", "F16", {groups, rows}, text_of(matrix.scales));
    if (with_g_idx) {
      std::string g_idx;
      for (std::int64_t k = 0; k < columns; ++k) {
        g_idx += bytes_of(static_cast<std::int32_t>(k / matrix.group_size));
      }
      weights.add(module + ".g_idx", "I32", {columns}, g_idx);
    }
    if (with_bias) weights.add(module + ".bias", "F16", {rows}, std::string(2 * rows, '\0'));
  }

  Model open() const {
    const TempFolder folder;
    files.write(folder);
    folder.write("model.safetensors", weights.build());
    return open_model(folder.path());
  }

  DType type;
  bool with_g_idx = false;
  bool with_bias = false;
  TinyFolder files = tiny_folder();
  SafetensorsWriter weights;
  std::map<std::string, RandomMatrix> matrices;
};

void expect_matrices(const QuantizedFolder& folder) {
  const Model model = folder.open();
  for (const auto& [name, matrix] : folder.matrices) {
    SCOPED_TRACE(name);
    const std::int64_t shape[]{matrix.rows, matrix.columns};
    const kernels::StoredMatrix stored = model.tensors->require(name, shape).matrix();
    EXPECT_EQ(stored.type, folder.type);
    kernels::Arena arena;
    kernels::PackedMatrix packed(kernels::packed_format(stored.type), stored.rows, stored.columns,
                                 arena);
    std::vector<float> values(static_cast<std::size_t>(stored.columns));
    for (std::int64_t row = 0; row < stored.rows; ++row) {
      packed.set_row(row, stored, row, 0);
      packed.get_row(row, values);
      for (std::int64_t k = 0; k < stored.columns; ++k) {
        const auto at = static_cast<std::size_t>(row * stored.columns + k);
        ASSERT_NEAR(values[static_cast<std::size_t>(k)], matrix.values[at], 1e-5);
      }
    }
  }
}

struct Kind {
  const char* name;
  DType type;
  std::int64_t group_size;
  std::uint32_t zero_offset;
};

class HfQuantized : public testing::TestWithParam<Kind> {
 protected:
  QuantizedFolder folder() const {
    return QuantizedFolder(GetParam().type, GetParam().group_size, GetParam().zero_offset);
  }
};

TEST_P(HfQuantized, GivesOneTensorAMatrix) {
  QuantizedFolder folder = this->folder();
  folder.write_weights();
  expect_matrices(folder);
}

TEST_P(HfQuantized, LeavesTheOtherTensorsAsTheyAre) {
  QuantizedFolder folder = this->folder();
  folder.write_weights();
  const Model model = folder.open();
  for (const TinyTensor& tiny : tiny_tensors()) {
    if (is_projection(tiny.hf_name)) continue;
    const Tensor& tensor = model.tensors->require(tiny.hf_name, tiny.shape);
    EXPECT_EQ(tensor.dtype, DType::f32);
    const std::string expected = tiny_hf_bytes(tiny);
    EXPECT_EQ(std::memcmp(tensor.data.data(), expected.data(), expected.size()), 0);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, HfQuantized,
    testing::Values(Kind{"gptq", DType::gptq, 32, kernels::kGptqZeroOffset},
                    Kind{"gptq_64", DType::gptq, 64, kernels::kGptqZeroOffset},
                    Kind{"gptq_v2", DType::gptq, 32, 0},
                    Kind{"gptq_whole_rows", DType::gptq, -1, kernels::kGptqZeroOffset},
                    Kind{"gptq_8", DType::gptq_8, 64, kernels::kGptqZeroOffset},
                    Kind{"gptq_v2_8", DType::gptq_8, 32, 0}, Kind{"awq_8", DType::awq_8, 32, 0},
                    Kind{"awq", DType::awq, 32, 0}, Kind{"awq_whole_rows", DType::awq, -1, 0}),
    [](const auto& info) { return info.param.name; });

// One zero point that is not 8 keeps them all.
TEST(HfQuantization, LooksAtEveryZeroPoint) {
  QuantizedFolder folder(DType::awq_8);
  for (auto& [name, matrix] : folder.matrices) {
    matrix.zeros.back() = std::byte{0x98};  // row rows - 1 of the last group, 9
    matrix.type = DType::awq;
  }
  folder.type = DType::awq;
  for (auto& [name, matrix] : folder.matrices) {
    const auto columns = matrix.columns, group = matrix.group_size;
    for (std::int64_t k = (columns - 1) / group * group; k < columns; ++k) {
      const std::size_t at = static_cast<std::size_t>((matrix.rows - 1) * columns + k);
      const std::size_t scale = static_cast<std::size_t>(columns / group * matrix.rows - 1);
      matrix.values[at] -=
          kernels::f16_to_float(kernels::load<std::uint16_t>(matrix.scales.data() + 2 * scale));
    }
  }
  folder.write_weights();
  expect_matrices(folder);
}

TEST(HfQuantization, TakesAnOrderThatMovesNothingAndABiasOfZeros) {
  QuantizedFolder folder(DType::gptq, 32, kernels::kGptqZeroOffset);
  folder.quantization()["desc_act"] = true;
  folder.with_g_idx = true;
  folder.with_bias = true;
  folder.write_weights();
  expect_matrices(folder);
}

TEST(HfQuantization, TakesWhatAutoAwqWritesInCapitals) {
  QuantizedFolder folder(DType::awq);
  folder.quantization()["version"] = "GEMM";
  folder.quantization()["zero_point"] = true;
  folder.quantization()["modules_to_not_convert"] = nullptr;
  folder.write_weights();
  expect_matrices(folder);
}

struct BadConfig {
  const char* name;
  DType type;
  const char* field;
  json value;
  std::vector<std::string> says;
};

class BadQuantization : public testing::TestWithParam<BadConfig> {};

TEST_P(BadQuantization, IsRefusedByFileAndField) {
  const BadConfig& bad = GetParam();
  QuantizedFolder folder(bad.type);
  folder.quantization()[bad.field] = bad.value;
  folder.write_weights();
  expect_error([&] { folder.open(); }, bad.says);
}

const std::string kField = "/config.json: quantization_config.";
INSTANTIATE_TEST_SUITE_P(
    Config, BadQuantization,
    testing::Values(
        BadConfig{"NoMethod",
                  DType::gptq,
                  "quant_method",
                  nullptr,
                  {kField + "quant_method: is missing"}},
        BadConfig{"OtherMethod",
                  DType::gptq,
                  "quant_method",
                  "bitsandbytes",
                  {kField + "quant_method: 'bitsandbytes' is not supported; supported are gptq, "
                            "awq, fp8, fbgemm_fp8, compressed-tensors"}},
        BadConfig{"NoBits", DType::gptq, "bits", nullptr, {kField + "bits: is missing"}},
        BadConfig{"EightBits",
                  DType::gptq,
                  "bits",
                  8,
                  {kField + "bits: 8 is not supported; supported is 4"}},
        BadConfig{"BitsAreText", DType::awq, "bits", "4", {kField + "bits: is not an integer"}},
        BadConfig{
            "NoGroupSize", DType::awq, "group_size", nullptr, {kField + "group_size: is missing"}},
        BadConfig{"SmallGroups",
                  DType::gptq,
                  "group_size",
                  16,
                  {kField + "group_size: 16 is neither -1 nor a multiple of 32"}},
        BadConfig{"NoGroups", DType::gptq, "group_size", 0, {kField + "group_size: 0 is neither"}},
        BadConfig{"NegativeGroups",
                  DType::awq,
                  "group_size",
                  -32,
                  {kField + "group_size: is not an integer from -1"}},
        BadConfig{"Marlin",
                  DType::gptq,
                  "checkpoint_format",
                  "marlin",
                  {kField + "checkpoint_format: 'marlin' is not supported; supported are gptq, "
                            "gptq_v2"}},
        BadConfig{"OldMarlin",
                  DType::gptq,
                  "is_marlin_format",
                  true,
                  {kField + "is_marlin_format: true is not supported"}},
        BadConfig{"ShortWords",
                  DType::gptq,
                  "pack_dtype",
                  "int16",
                  {kField + "pack_dtype: 'int16' is not supported; supported is int32"}},
        BadConfig{"Dynamic",
                  DType::gptq,
                  "dynamic",
                  json{{"-:.*", json::object()}},
                  {kField + "dynamic: layouts that differ"}},
        BadConfig{"Gemv",
                  DType::awq,
                  "version",
                  "gemv",
                  {kField + "version: 'gemv' is not supported; supported is gemm"}},
        BadConfig{"NoZeroPoint",
                  DType::awq,
                  "zero_point",
                  false,
                  {kField + "zero_point: false is not supported"}},
        BadConfig{"OrderWithoutIndex",
                  DType::gptq,
                  "desc_act",
                  true,
                  {"tensor 'model.layers.0.mlp.down_proj.g_idx': is missing"}},
        BadConfig{"OtherGroups",
                  DType::gptq,
                  "group_size",
                  64,
                  {"tensor 'model.layers.0.mlp.down_proj.qzeros': shape [2, 4]; qweight and "
                   "quantization_config ask for [1, 4]"}}),
    [](const auto& info) { return info.param.name; });

struct BadPart {
  const char* name;
  DType type;
  std::function<void(QuantizedFolder&)> change;  // of the folder with all weights
  std::vector<std::string> says;
};

class BadQuantizedTensor : public testing::TestWithParam<BadPart> {};

TEST_P(BadQuantizedTensor, IsRefusedByName) {
  QuantizedFolder folder(GetParam().type);
  folder.with_g_idx = folder.with_bias = true;
  folder.write_weights();
  GetParam().change(folder);
  expect_error([&] { folder.open(); }, GetParam().says);
}

const std::string kModule = "model.layers.0.mlp.up_proj";

std::function<void(QuantizedFolder&)> renamed(const std::string& part) {
  return [=](QuantizedFolder& folder) {
    auto& header = folder.weights.header;
    header[kModule + ".other"] = header[kModule + part];
    header.erase(kModule + part);
  };
}

std::function<void(QuantizedFolder&)> with(const std::string& part, const char* member,
                                           const json& value) {
  return [=](QuantizedFolder& folder) { folder.weights.header[kModule + part][member] = value; };
}

// Overwrites bytes of a part.
std::function<void(QuantizedFolder&)> poked(const std::string& part, std::size_t at, char byte) {
  return [=](QuantizedFolder& folder) {
    const auto& entry = folder.weights.header[kModule + part];
    folder.weights.data[entry["data_offsets"][0].get<std::size_t>() + at] = byte;
  };
}

INSTANTIATE_TEST_SUITE_P(
    Parts, BadQuantizedTensor,
    testing::Values(
        BadPart{"NoZeros",
                DType::gptq,
                renamed(".qzeros"),
                {"/model.safetensors: tensor '" + kModule + ".qzeros': is missing"}},
        BadPart{"NoScales",
                DType::awq,
                renamed(".scales"),
                {"tensor '" + kModule + ".scales': is missing"}},
        BadPart{"NoWords",
                DType::gptq,
                renamed(".qweight"),
                {"tensor '" + kModule + ".weight' is missing"}},
        BadPart{"FloatWords",
                DType::gptq,
                with(".qweight", "dtype", "F32"),
                {"tensor '" + kModule + ".qweight': type f32 is not i32"}},
        BadPart{"Bf16Scales",
                DType::awq,
                with(".scales", "dtype", "BF16"),
                {"tensor '" + kModule + ".scales': type bf16 is not f16"}},
        BadPart{"FlatWords",
                DType::gptq,
                with(".qweight", "shape", {256}),
                {"tensor '" + kModule + ".qweight': shape [256] is not that of a matrix"}},
        BadPart{"NarrowColumns",
                DType::gptq,
                with(".qweight", "shape", {2, 128}),
                {"tensor '" + kModule +
                 ".qweight': stands for a matrix [128, 16]; its rows must "
                 "be a multiple of 8, its columns of 32"}},
        BadPart{"OddRows",
                DType::gptq,
                with(".qweight", "shape", {64, 4}),
                {"stands for a matrix [4, 512]; its rows must be a multiple of 8"}},
        BadPart{"TurnedZeros",
                DType::awq,
                with(".qzeros", "shape", {8, 1}),
                {"tensor '" + kModule +
                 ".qzeros': shape [8, 1]; qweight and quantization_config "
                 "ask for [1, 8]"}},
        BadPart{"TurnedScales",
                DType::gptq,
                with(".scales", "shape", {64, 1}),
                {"tensor '" + kModule + ".scales': shape [64, 1]", "ask for [1, 64]"}},
        BadPart{"OtherShape",
                DType::gptq,
                with(".qweight", "shape", {8, 32}),
                {"tensor '" + kModule + ".qzeros': shape [1, 8]", "ask for [2, 4]"}},
        BadPart{"Order",
                DType::gptq,
                poked(".g_idx", 4 * 5, 1),
                {"tensor '" + kModule +
                 ".g_idx': column 5 is of group 1, not 0: activation order "
                 "is not supported"}},
        BadPart{"Bias",
                DType::gptq,
                poked(".bias", 3, 1),
                {"tensor '" + kModule + ".bias' is not one of a llama model"}},
        BadPart{"NoConfig",
                DType::gptq,
                [](QuantizedFolder& f) { f.files.config.erase("quantization_config"); },
                {"tensor 'model.layers.0.mlp.down_proj.qweight': is quantized, but config.json has "
                 "no quantization_config"}},
        BadPart{"WordsAsWeights",
                DType::gptq,
                [](QuantizedFolder& f) {
                  f.weights.header["model.embed_tokens.weight"]["dtype"] = "I32";
                },
                {"tensor 'model.embed_tokens.weight': type i32 is not supported here"}},
        BadPart{"SizesAsWeights",
                DType::gptq,
                [](QuantizedFolder& f) {
                  auto& head = f.weights.header["model.embed_tokens.weight"];
                  head["dtype"] = "I64", head["shape"][1] = head["shape"][1].get<int>() / 2;
                },
                {"tensor 'model.embed_tokens.weight'"}}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace lockstep::model

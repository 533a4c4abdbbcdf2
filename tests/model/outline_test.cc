#include "model/outline.h"

#include <gtest/gtest.h>

#include "tests/model/expect_error.h"
#include "tests/model/temp_folder.h"
#include "tests/model/tiny_llama.h"

namespace lockstep::model {
namespace {

TEST(Outline, OfAGgufFileAndAFolderHaveTheSameSizesAndTypes) {
  const TempFolder folder;
  tiny_folder().write(folder);
  folder.write("model.safetensors", tiny_safetensors().build());
  const Outline hf = read_outline(folder.path());
  const Outline gguf = read_outline(folder.write("tiny.gguf", tiny_gguf().build()));
  for (const Outline* outline : {&hf, &gguf}) {
    EXPECT_EQ(outline->config.hidden_size, 32);
    EXPECT_EQ(outline->config.num_hidden_layers, 2);
    ASSERT_NE(outline->tensors, nullptr);
    for (const TinyTensor& tensor : tiny_tensors()) {
      EXPECT_EQ(outline->tensors->require(tensor.hf_name, tensor.shape).dtype, kernels::DType::f32);
    }
  }
}

TEST(Outline, NeedsNoTokenizerAndNoWeights) {
  const TempFolder folder;
  TinyFolder tiny = tiny_folder();
  tiny.config["torch_dtype"] = "float16";
  folder.write("config.json", tiny.config.dump());
  for (const std::string& path : {folder.path(), folder.path() + "/config.json"}) {
    const Outline outline = read_outline(path);
    EXPECT_EQ(outline.config.vocab_size, 12);
    EXPECT_EQ(outline.tensors, nullptr);
    EXPECT_EQ(outline.stored_as, "float16");
  }
}

TEST(Outline, OfAQuantizedModelNamesWhatItsWeightsAreKeptIn) {
  using nlohmann::json;
  const auto compressed = [](const char* format, const char* strategy, int bits = 8) {
    return json{{"quant_method", "compressed-tensors"},
                {"format", format},
                {"config_groups",
                 {{"group_0", {{"weights", {{"strategy", strategy}, {"num_bits", bits}}}}}}}};
  };
  const TempFolder folder;
  TinyFolder tiny = tiny_folder();
  for (const auto& [quantization, name] : std::vector<std::pair<json, std::string>>{
           {{{"quant_method", "awq"}}, "awq"},
           {{{"quant_method", "gptq"}, {"sym", false}}, "gptq"},
           {{{"quant_method", "gptq"}, {"sym", true}}, "gptq_8"},
           {{{"quant_method", "gptq"}, {"sym", "yes"}}, "gptq"},
           {{{"quant_method", "gptq"}, {"sym", true}, {"bits", 8}}, "gptq of 8 bits"},
           {{{"quant_method", "fp8"}}, "fp8"},
           {{{"quant_method", "fp8"}, {"weight_block_size", {128, 128}}}, "fp8_block"},
           {{{"quant_method", "fbgemm_fp8"}}, "fp8"},
           {compressed("float-quantized", "channel"), "fp8"},
           {compressed("float-quantized", "block"), "fp8_block"},
           {compressed("int-quantized", "channel"), "int8"},
           {compressed("pack-quantized", "group", 4), "packed_int4"},
           {compressed("pack-quantized", "group"), "packed_int8"},
           {compressed("pack-quantized", "channel"), "int8"},
           {compressed("pack-quantized", "group", 2), "compressed-tensors"},
           {compressed("nvfp4-pack-quantized", "tensor_group", 4), "compressed-tensors"}}) {
    tiny.config["quantization_config"] = quantization;
    EXPECT_EQ(read_outline(folder.write("config.json", tiny.config.dump())).stored_as, name);
  }
  json naive = compressed("naive-quantized", "channel");
  for (const auto& [type, name] : {std::pair("int", "int8"), {"float", "fp8"}}) {
    naive["config_groups"]["group_0"]["weights"]["type"] = type;
    tiny.config["quantization_config"] = naive;
    EXPECT_EQ(read_outline(folder.write("config.json", tiny.config.dump())).stored_as, name);
  }
  json with_zeros = compressed("pack-quantized", "group", 4);
  with_zeros["config_groups"]["group_0"]["weights"]["symmetric"] = false;
  tiny.config["quantization_config"] = with_zeros;
  EXPECT_EQ(read_outline(folder.write("config.json", tiny.config.dump())).stored_as,
            "packed_int4_zeros");
}

TEST(Outline, RefusesShapesThatItWouldCountWrongly) {
  const TempFolder folder;
  TinyFolder tiny = tiny_folder();
  tiny.config["architectures"] = {"MixtralForCausalLM"};
  const std::string file = folder.write("config.json", tiny.config.dump());
  expect_error([&] { read_outline(file); }, {file, "architectures", "MixtralForCausalLM"});
  expect_error([&] { read_outline(folder.path() + "/none"); }, {"none", "no such file"});
}

}  // namespace
}  // namespace lockstep::model

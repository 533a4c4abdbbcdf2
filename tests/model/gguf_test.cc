#include "model/gguf.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <iostream>
#include <random>

#include "model/model.h"
#include "tests/model/expect_error.h"
#include "tests/model/gguf_writer.h"
#include "tests/model/temp_folder.h"
#include "tests/model/tiny_llama.h"

namespace lockstep::model {
namespace {

using kernels::DType;
using testing::ElementsAre;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

std::string pattern(std::size_t size) {
  std::string bytes(size, '\0');
  for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<char>(i * 7 + 1);
  return bytes;
}

struct TypeCase {
  const char* name;
  std::uint32_t number;  // ggml_type
  DType dtype;
  std::size_t row_bytes;  // of 256 values
};

class GgufType : public testing::TestWithParam<TypeCase> {};

TEST_P(GgufType, GivesShapeOutermostFirstAndTheExactBytes) {
  const TypeCase& type = GetParam();
  GgufWriter writer;
  writer.add("first", {32}, 0, pattern(128));
  writer.add("x", {256, 3}, type.number, pattern(3 * type.row_bytes));
  const TempFolder folder;
  const GgufFile gguf = read_gguf(folder.write("x.gguf", writer.build()));
  ASSERT_EQ(gguf.tensors.size(), 2u);
  const Tensor& tensor = gguf.tensors[1];
  EXPECT_EQ(tensor.dtype, type.dtype);
  EXPECT_THAT(tensor.shape, ElementsAre(3, 256));
  EXPECT_EQ(tensor.rows(), 3);
  EXPECT_EQ(tensor.columns(), 256);
  EXPECT_EQ(tensor.row_bytes(), type.row_bytes);
  EXPECT_EQ(text_of(tensor.data), pattern(3 * type.row_bytes));
}

INSTANTIATE_TEST_SUITE_P(
    All, GgufType,
    testing::Values(TypeCase{"f32", 0, DType::f32, 1024}, TypeCase{"f16", 1, DType::f16, 512},
                    TypeCase{"q4_0", 2, DType::q4_0, 144}, TypeCase{"q4_1", 3, DType::q4_1, 160},
                    TypeCase{"q5_0", 6, DType::q5_0, 176}, TypeCase{"q5_1", 7, DType::q5_1, 192},
                    TypeCase{"q5_k", 13, DType::q5_k, 176}, TypeCase{"q8_0", 8, DType::q8_0, 272},
                    TypeCase{"bf16", 30, DType::bf16, 512}, TypeCase{"q4_k", 12, DType::q4_k, 144},
                    TypeCase{"q6_k", 14, DType::q6_k, 210}),
    [](const auto& info) { return info.param.name; });

TEST(Gguf, UnusedTokensHaveNoText) {
  GgufWriter writer = tiny_gguf();
  writer.set("tokenizer.ggml.token_type", gguf_i32s({3, 3, 3, 1, 1, 1, 1, 1, 1, 1, 1, 5}));
  const TempFolder folder;
  const Model model = open_model(folder.write("x.gguf", writer.build()));
  EXPECT_EQ(model.tokenizer.tokens[11], "");
  EXPECT_EQ(model.tokenizer.tokens[10], "\xc4\xa0");
}

TEST(Gguf, ReadsEveryMetadataType) {
  GgufWriter writer;
  writer.set("u8", bytes_of<std::uint32_t>(0) + bytes_of<std::uint8_t>(200));
  writer.set("i8", bytes_of<std::uint32_t>(1) + bytes_of<std::int8_t>(-5));
  writer.set("u16", bytes_of<std::uint32_t>(2) + bytes_of<std::uint16_t>(60000));
  writer.set("i16", bytes_of<std::uint32_t>(3) + bytes_of<std::int16_t>(-300));
  writer.set("u32", gguf_u32(4000000000u));
  writer.set("i32", bytes_of<std::uint32_t>(5) + bytes_of<std::int32_t>(-70000));
  writer.set("f32", gguf_f32(0.5f));
  writer.set("bool", gguf_bool(1));
  writer.set("text", gguf_text("hello"));
  writer.set("u64", bytes_of<std::uint32_t>(10) + bytes_of<std::uint64_t>(1ull << 40));
  writer.set("i64", bytes_of<std::uint32_t>(11) + bytes_of<std::int64_t>(-(1ll << 40)));
  writer.set("f64", bytes_of<std::uint32_t>(12) + bytes_of(0.25));
  writer.set("texts", gguf_texts({"a", "", "ccc"}));
  writer.set("i32s", gguf_i32s({-1, 0, 7}));
  writer.set("f32s", gguf_array(6, 2, bytes_of(0.5f) + bytes_of(-2.0f)));
  const TempFolder folder;
  const GgufFile gguf = read_gguf(folder.write("x.gguf", writer.build()));
  const GgufMetadata& metadata = gguf.metadata;
  const auto integer = [&](const char* key) {
    return metadata.integer(key, INT64_MIN, INT64_MAX).value();
  };
  EXPECT_EQ(integer("u8"), 200);
  EXPECT_EQ(integer("i8"), -5);
  EXPECT_EQ(integer("u16"), 60000);
  EXPECT_EQ(integer("i16"), -300);
  EXPECT_EQ(integer("u32"), 4000000000);
  EXPECT_EQ(integer("i32"), -70000);
  EXPECT_EQ(integer("u64"), 1ll << 40);
  EXPECT_EQ(integer("i64"), -(1ll << 40));
  EXPECT_EQ(metadata.number("f32", 0, 1), 0.5);
  EXPECT_EQ(metadata.number("f64", 0, 1), 0.25);
  EXPECT_EQ(metadata.boolean("bool"), true);
  EXPECT_EQ(metadata.string("text"), "hello");
  EXPECT_THAT(metadata.strings("texts").value(), ElementsAre("a", "", "ccc"));
  EXPECT_THAT(metadata.integers("i32s", -10, 10).value(), ElementsAre(-1, 0, 7));
  EXPECT_THAT(metadata.floats("f32s").value(), ElementsAre(0.5f, -2.0f));
  EXPECT_EQ(metadata.integer("absent", 0, 1), std::nullopt);
}

TEST(Gguf, ReadsVersion2LikeVersion3) {
  GgufWriter writer = tiny_gguf();
  writer.version = 2;
  const TempFolder folder;
  EXPECT_EQ(open_model(folder.write("x.gguf", writer.build())).config.hidden_size, 32);
}

TEST(Gguf, ObeysTheFilesOwnAlignment) {
  GgufWriter writer;
  writer.alignment = 128;
  writer.set("general.alignment", gguf_u32(128));
  writer.add("a", {1}, 0, pattern(4));
  writer.add("b", {2}, 0, pattern(8));
  const TempFolder folder;
  const GgufFile gguf = read_gguf(folder.write("x.gguf", writer.build()));
  EXPECT_EQ(text_of(gguf.tensors[0].data), pattern(4));
  EXPECT_EQ(text_of(gguf.tensors[1].data), pattern(8));
  EXPECT_EQ(gguf.tensors[1].data.data() - gguf.file.bytes().data(), 256);
}

// A file that must be refused, made from the tiny model.
struct BadFile {
  const char* name;
  std::function<std::string()> bytes;
  std::vector<std::string> says;
};

// The tiny model bent by `change`.
std::function<std::string()> bent(std::function<void(GgufWriter&)> change) {
  return [change] {
    GgufWriter writer = tiny_gguf();
    change(writer);
    return writer.build();
  };
}

std::function<std::string()> with(std::string key, std::string value) {
  return bent([=](GgufWriter& writer) { writer.set(key, value); });
}

std::function<std::string()> without(std::string key) {
  return bent([=](GgufWriter& writer) { writer.remove(key); });
}

// The tiny model's first `size` bytes.
std::function<std::string()> cut(std::size_t size) {
  return [=] { return tiny_gguf().build().substr(0, size); };
}

// Where the first tensor's description starts.
std::size_t metadata_end() {
  GgufWriter writer = tiny_gguf();
  writer.tensors.clear();
  return writer.header().size();
}

constexpr std::uint64_t kHuge = 1ull << 62;

std::vector<BadFile> bad_structure() {
  const auto q = "blk.0.attn_q.weight";
  const std::string field = "tensor 'blk.0.attn_q.weight': ";
  return {
      {"Empty", cut(0), {"magic"}},
      {"CutInMagic", cut(3), {"magic", "beyond the end of the file (3 bytes)"}},
      {"CutInVersion", cut(6), {"version", "beyond the end of the file (6 bytes)"}},
      {"CutInTensorCount", cut(12), {"tensor count", "beyond the end"}},
      {"CutInMetadataCount", cut(20), {"metadata count", "beyond the end"}},
      {"CutInKeyLength", cut(28), {"metadata key 0", "beyond the end"}},
      {"CutInKey", cut(40), {"metadata key 0", "beyond the end"}},
      {"CutInType", cut(54), {"metadata 'general.architecture'", "beyond the end"}},
      {"CutInValue", cut(65), {"metadata 'general.architecture'", "beyond the end"}},
      {"CutInTensorName", cut(metadata_end() + 10), {"tensor name 0", "beyond the end"}},
      {"CutInTensorInfo",
       cut(metadata_end() + 30),
       {"tensor 'token_embd.weight'", "beyond the end"}},
      {"CutBeforeData",
       cut(tiny_gguf().header().size()),
       {"tensor 'token_embd.weight': offset 0 + 1536 bytes is beyond the end of the file"}},
      {"CutInLastByte",
       cut(tiny_gguf().build().size() - 1),
       {"tensor 'output.weight': offset", "1536 bytes is beyond the end of the file"}},
      {"BadMagic", bent([](GgufWriter& w) { w.magic = "GGML"; }), {"magic", "not a GGUF file"}},
      {"Version1", bent([](GgufWriter& w) { w.version = 1; }), {"version: 1", "2 and 3"}},
      {"Version4", bent([](GgufWriter& w) { w.version = 4; }), {"version: 4", "2 and 3"}},
      {"BigEndian", bent([](GgufWriter& w) { w.version = 0x03000000; }), {"version", "big-endian"}},
      {"HugeTensorCount",
       bent([](GgufWriter& w) { w.extra_tensors = kHuge; }),
       {"tensor count: 46116860", "the limit is 65536"}},
      {"HugeMetadataCount",
       bent([](GgufWriter& w) { w.extra_entries = kHuge; }),
       {"metadata count: 46116860", "the limit is 16384"}},
      {"MoreTensorsThanFile", bent([](GgufWriter& w) { w.extra_tensors = 60000; }), {"tensor "}},
      {"HugeKey",
       [] {
         GgufWriter writer;
         writer.extra_entries = 1;
         return writer.header() + bytes_of(kHuge);
       },
       {"metadata key 0: string of 4611686018427387904 bytes; the limit is 65535"}},
      {"HugeString",
       with("general.name", bytes_of<std::uint32_t>(8) + bytes_of(~0ull)),
       {"metadata 'general.name': string of 18446744073709551615 bytes", "the limit is 16777216"}},
      {"HugeTensorName",
       bent([](GgufWriter& w) { w.tensors[0].name = std::string(300, 'x'); }),
       {"tensor name 0: string of 300 bytes; the limit is 256"}},
      {"HugeArray",
       with("general.name", gguf_array(5, kHuge, "")),
       {"metadata 'general.name': 4611686018427387904 elements", "no room"}},
      {"HugeStringArray",
       with("general.name", gguf_array(8, kHuge, "")),
       {"metadata 'general.name': 4611686018427387904 elements", "no room"}},
      {"ArrayLongerThanFile",
       with("general.name", gguf_array(8, 1 << 20, "")),
       {"metadata 'general.name': 1048576 elements", "no room"}},
      {"NestedArray",
       with("general.name", gguf_array(9, 1, gguf_array(9, 1, ""))),
       {"metadata 'general.name': arrays of type 9 are not supported"}},
      {"UnknownValueType",
       with("general.name", bytes_of<std::uint32_t>(13)),
       {"metadata 'general.name': unknown type 13"}},
      {"UnknownElementType",
       with("general.name", gguf_array(77, 0, "")),
       {"metadata 'general.name': arrays of type 77"}},
      {"BooleanOfTwo",
       with("general.name", gguf_bool(2)),
       {"metadata 'general.name': boolean of value 2"}},
      {"KeyTwice",
       bent([](GgufWriter& w) { w.entries.push_back(w.entries[1]); }),
       {"metadata 'llama.block_count': is there twice"}},
      {"TensorTwice",
       bent([](GgufWriter& w) { w.tensors[2].name = w.tensors[1].name; }),
       {"tensor 'blk.0.attn_norm.weight' is there twice"}},
      {"NoDimensions",
       bent([=](GgufWriter& w) { w.tensor(q).dimensions = {}; }),
       {field + "0 dimensions", "between 1 and 4"}},
      {"FiveDimensions",
       bent([=](GgufWriter& w) {
         w.tensor(q).dimensions = {1, 1, 1, 1, 1};
       }),
       {field + "5 dimensions", "between 1 and 4"}},
      {"ZeroDimension",
       bent([=](GgufWriter& w) {
         w.tensor(q).dimensions = {32, 0};
       }),
       {field + "shape [0, 32] has an empty dimension"}},
      {"NegativeDimension",
       bent([=](GgufWriter& w) {
         w.tensor(q).dimensions = {32, ~0ull};
       }),
       {field + "dimension of 18446744073709551615"}},
      {"ShapeOverflows",
       bent([=](GgufWriter& w) {
         w.tensor(q).dimensions = {1 << 30, 1ull << 34};
       }),
       {field + "shape [17179869184, 1073741824] overflows 64 bits"}},
      {"ShapeOverflowsInBytes",
       bent([=](GgufWriter& w) {
         w.tensor(q).dimensions = {kHuge, 1};
       }),
       {field + "shape [1, 4611686018427387904] overflows 64 bits"}},
      {"UnsupportedType",
       bent([=](GgufWriter& w) { w.tensor(q).type = 11; }),
       {field + "GGUF tensor type 11 (q3_k) is not supported; supported are f32, f16, q4_0, q4_1, "
                "q5_0, q5_1, q8_0, q4_k, q5_k, q6_k, bf16"}},
      {"UnknownType",
       bent([=](GgufWriter& w) { w.tensor(q).type = 99; }),
       {field + "GGUF tensor type 99 is not supported"}},
      {"PartialSuperblocks",
       bent([=](GgufWriter& w) { w.tensor(q).type = 12; }),
       {field + "rows of 32 values are not whole blocks of 256 (q4_k)"}},
      {"PartialBlocks",
       bent([=](GgufWriter& w) {
         w.tensor(q).type = 8;
         w.tensor(q).dimensions = {31, 2};
       }),
       {field + "rows of 31 values are not whole blocks of 32 (q8_0)"}},
      {"MisalignedOffset",
       bent([=](GgufWriter& w) { w.tensor(q).offset += 4; }),
       {field + "offset", "is not a multiple of the alignment, 32"}},
      {"OffsetOverflows",
       bent([=](GgufWriter& w) { w.tensor(q).offset = ~0ull - 31; }),
       {field + "offset 18446744073709551584 + 4096 bytes is beyond the end of the file"}},
      {"OffsetBeyondEnd",
       bent([=](GgufWriter& w) { w.tensor(q).offset = 1 << 20; }),
       {field + "offset 1048576 + 4096 bytes is beyond the end of the file"}},
      {"Overlap", bent([=](GgufWriter& w) { w.tensor(q).offset += 32; }), {"overlaps tensor"}},
      {"AlignmentZero",
       with("general.alignment", gguf_u32(0)),
       {"metadata 'general.alignment': 0"}},
      {"AlignmentOdd",
       with("general.alignment", gguf_u32(48)),
       {"metadata 'general.alignment': 48 is not a power of two"}},
      {"AlignmentHuge",
       with("general.alignment", gguf_u32(1u << 31)),
       {"metadata 'general.alignment': 2147483648 is not an integer from 8 to 1048576"}},
      {"AlignmentOfWrongType",
       with("general.alignment", gguf_text("32")),
       {"metadata 'general.alignment': is not an integer"}},
      {"OldQuantization",
       bent([=](GgufWriter& w) {
         w.set("general.quantization_version", gguf_u32(1));
         w.tensor(q).type = 8;
       }),
       {"metadata 'general.quantization_version': 1 is not"}},
  };
}

std::vector<BadFile> bad_model() {
  const auto q = "blk.0.attn_q.weight";
  return {
      {"NoArchitecture",
       without("general.architecture"),
       {"metadata 'general.architecture' is missing"}},
      {"OtherArchitecture",
       with("general.architecture", gguf_text("mamba\n")),
       {"metadata 'general.architecture': 'mamba?' is not supported", "llama"}},
      {"ArchitectureIsNumber",
       with("general.architecture", gguf_u32(3)),
       {"metadata 'general.architecture': is not a string"}},
      {"Split", with("split.count", gguf_u32(3)), {"metadata 'split.count'", "llama-gguf-split"}},
      {"NoLayers", without("llama.block_count"), {"metadata 'llama.block_count' is missing"}},
      {"ZeroLayers",
       with("llama.block_count", gguf_u32(0)),
       {"metadata 'llama.block_count': 0 is not an integer from 1 to 1024"}},
      {"HugeLayers",
       with("llama.block_count", gguf_u32(2000000000)),
       {"metadata 'llama.block_count': 2000000000"}},
      {"LayersAreText",
       with("llama.block_count", gguf_text("2")),
       {"metadata 'llama.block_count': is not an integer"}},
      {"LayersBeyond64Bits",
       with("llama.block_count", bytes_of<std::uint32_t>(10) + bytes_of(~0ull)),
       {"metadata 'llama.block_count': is not an integer from 1 to 1024"}},
      {"HeadsDoNotDivide",
       bent([](GgufWriter& w) {
         w.remove("llama.rope.dimension_count");
         w.set("llama.attention.head_count", gguf_u32(5));
       }),
       {"metadata 'llama.attention.head_count': 5 does not divide embedding_length, 32"}},
      {"KeyHeadsDoNotDivide",
       with("llama.attention.head_count_kv", gguf_u32(3)),
       {"num_attention_heads: 4 is not a multiple of num_key_value_heads, 3"}},
      {"ZeroKeyHeads",
       with("llama.attention.head_count_kv", gguf_u32(0)),
       {"metadata 'llama.attention.head_count_kv': 0"}},
      {"KeyHeadsAreArray",
       with("llama.attention.head_count_kv", gguf_i32s({2, 2})),
       {"metadata 'llama.attention.head_count_kv': is not an integer"}},
      {"OddHeadDim",
       bent([](GgufWriter& w) {
         w.remove("llama.rope.dimension_count");
         w.set("llama.attention.key_length", gguf_u32(7));
       }),
       {"head_dim: 7 is odd"}},
      {"PartialRotary",
       with("llama.rope.dimension_count", gguf_u32(4)),
       {"metadata 'llama.rope.dimension_count': 4 is not an integer from 8 to 8"}},
      {"EpsilonIsNan",
       with("llama.attention.layer_norm_rms_epsilon", gguf_f32(0.0f / 0.0f)),
       {"metadata 'llama.attention.layer_norm_rms_epsilon': is not a floating-point number"}},
      {"EpsilonIsInteger",
       with("llama.attention.layer_norm_rms_epsilon", gguf_u32(0)),
       {"metadata 'llama.attention.layer_norm_rms_epsilon': is not a floating-point number"}},
      {"ThetaZero", with("llama.rope.freq_base", gguf_f32(0)), {"rope_theta"}},
      {"RopeScaling",
       with("llama.rope.scaling.type", gguf_text("yarn")),
       {"metadata 'llama.rope.scaling.type': 'yarn' is not supported; supported is none"}},
      {"RopeFactor",
       with("llama.rope.scaling.factor", gguf_f32(2)),
       {"metadata 'llama.rope.scaling.factor': linear scaling"}},
      {"Experts", with("llama.expert_count", gguf_u32(8)), {"metadata 'llama.expert_count': 8"}},
      {"OtherTokenizer",
       with("tokenizer.ggml.model", gguf_text("bert")),
       {"metadata 'tokenizer.ggml.model': 'bert' is not supported; supported are gpt2, llama"}},
      {"OtherPreTokenizer",
       with("tokenizer.ggml.pre", gguf_text("falcon")),
       {"metadata 'tokenizer.ggml.pre': 'falcon' is not supported", "smollm, gpt-2"}},
      {"TokensAreNumbers",
       with("tokenizer.ggml.tokens", gguf_i32s({1})),
       {"metadata 'tokenizer.ggml.tokens': is not an array of strings"}},
      {"NoTokens",
       with("tokenizer.ggml.tokens", gguf_texts({})),
       {"metadata 'tokenizer.ggml.tokens': 0 tokens"}},
      {"FewTypes",
       with("tokenizer.ggml.token_type", gguf_i32s({1, 1})),
       {"metadata 'tokenizer.ggml.token_type': 2 elements for 12 tokens"}},
      {"StrangeType",
       with("tokenizer.ggml.token_type", gguf_i32s({1, 99})),
       {"metadata 'tokenizer.ggml.token_type': element 1 is not an integer from 0 to 6"}},
      {"EosOutside",
       with("tokenizer.ggml.eos_token_id", gguf_u32(12)),
       {"metadata 'tokenizer.ggml.eos_token_id': 12 is not an integer from 0 to 11"}},
      {"VocabularySmallerThanTokens",
       with("llama.vocab_size", gguf_u32(11)),
       {"tensor 'model.embed_tokens.weight': shape [12, 32]", "asks for [11, 32]"}},
      {"MissingTensor",
       bent([=](GgufWriter& w) {
         std::erase_if(w.tensors, [=](const auto& info) { return info.name == q; });
         // The hole that it leaves is no fault.
         std::uint64_t offset = 0;
         for (auto& info : w.tensors) {
           info.offset = offset;
           offset = w.padded(offset + info.data.size());
         }
       }),
       {"tensor 'model.layers.0.self_attn.q_proj.weight' is missing"}},
      {"WrongShape",
       bent([=](GgufWriter& w) {
         w.tensor(q).dimensions = {32, 16};
       }),
       {"tensor 'model.layers.0.self_attn.q_proj.weight': shape [16, 32]", "asks for [32, 32]"}},
      {"QuantizedNorm",
       bent([=](GgufWriter& w) { w.tensor("output_norm.weight").type = 8; }),
       {"tensor 'model.norm.weight': type q8_0 is not supported here"}},
      {"StrayTensor",
       bent([](GgufWriter& w) { w.add("blk.0.attn_q.bias", {32}, 0, pattern(128)); }),
       {"tensor 'model.layers.0.self_attn.q_proj.bias' is not one of a llama model"}},
      {"StrayName",
       bent([](GgufWriter& w) { w.add("blk.0.ffn_gate_inp.weight", {32}, 0, pattern(128)); }),
       {"tensor 'blk.0.ffn_gate_inp.weight' is not one of a llama model"}},
      {"LayerTooMany",
       bent([](GgufWriter& w) { w.add("blk.2.ffn_norm.weight", {32}, 0, pattern(128)); }),
       {"tensor 'model.layers.2.post_attention_layernorm.weight' is not one of a llama model"}},
      {"RopeDivisorsShape",
       bent([](GgufWriter& w) { w.add("rope_freqs.weight", {3}, 0, pattern(12)); }),
       {"tensor 'rope_freqs.weight': shape [3] is not [4]"}},
      {"RopeDivisorsZero",
       bent([](GgufWriter& w) { w.add("rope_freqs.weight", {4}, 0, std::string(16, '\0')); }),
       {"tensor 'rope_freqs.weight'", "not positive"}},
  };
}

class BadGguf : public testing::TestWithParam<BadFile> {};

TEST_P(BadGguf, IsRefusedByFileAndField) {
  const TempFolder folder;
  const std::string path = folder.write("bad.gguf", GetParam().bytes());
  std::vector<std::string> says = GetParam().says;
  says.push_back(path + ": ");
  expect_error([&] { open_model(path); }, says);
}

INSTANTIATE_TEST_SUITE_P(Structure, BadGguf, testing::ValuesIn(bad_structure()),
                         [](const auto& info) { return info.param.name; });
INSTANTIATE_TEST_SUITE_P(Model, BadGguf, testing::ValuesIn(bad_model()),
                         [](const auto& info) { return info.param.name; });

TEST(Gguf, RandomlyFlippedBitsGiveAModelOrAnErrorAndNothingElse) {
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::cout << "seed " << seed << "\n";
  std::mt19937 random(seed);
  const std::string good = tiny_gguf().build();
  const std::size_t header = tiny_gguf().header().size();
  const TempFolder folder;
  int refused = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string bytes = good;
    for (std::uint32_t flips = 1 + random() % 4; flips > 0; --flips) {
      bytes[random() % header] ^= static_cast<char>(1 << random() % 8);
    }
    const std::string path = folder.write("fuzz.gguf", bytes);
    try {
      const Model model = open_model(path);
      EXPECT_EQ(model.tokenizer.tokens.size(), static_cast<std::size_t>(model.config.vocab_size));
    } catch (const Error& error) {
      ++refused;
      ASSERT_THAT(error.what(), testing::StartsWith(path + ": "));
    }
  }
  EXPECT_GT(refused, 1000);  // most of the header matters
}

}  // namespace
}  // namespace lockstep::model

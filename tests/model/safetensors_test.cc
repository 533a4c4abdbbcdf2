#include "model/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <iostream>
#include <random>

#include "tests/model/expect_error.h"
#include "tests/model/safetensors_writer.h"
#include "tests/model/temp_folder.h"

namespace lockstep::model {
namespace {

using kernels::DType;
using testing::ElementsAre;

std::string text_of(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

const Tensor& named(const std::vector<Tensor>& tensors, std::string_view name) {
  for (const Tensor& tensor : tensors) {
    if (tensor.name == name) return tensor;
  }
  throw std::out_of_range(std::string(name));
}

// Two tensors: "a", F32 [2, 3], bytes 0 to 24, and "b", BF16 [4], bytes 24 to 32.
SafetensorsWriter two_tensors() {
  SafetensorsWriter writer;
  writer.header["__metadata__"] = {{"format", "pt"}};
  writer.add("a", "F32", {2, 3}, "abcdefghijklmnopqrstuvwx");
  writer.add("b", "BF16", {4}, "ABCDEFGH");
  return writer;
}

TEST(Safetensors, GivesTypeShapeAndTheExactBytes) {
  SafetensorsWriter writer = two_tensors();
  writer.add("c", "F16", {1, 1, 2}, "wxyz");
  const TempFolder folder;
  const MappedFile file(folder.write("x.safetensors", writer.build()));
  const auto tensors = read_safetensors(file);
  ASSERT_EQ(tensors.size(), 3u);
  EXPECT_EQ(named(tensors, "a").dtype, DType::f32);
  EXPECT_EQ(named(tensors, "b").dtype, DType::bf16);
  EXPECT_EQ(named(tensors, "c").dtype, DType::f16);
  EXPECT_THAT(named(tensors, "a").shape, ElementsAre(2, 3));
  EXPECT_THAT(named(tensors, "c").shape, ElementsAre(1, 1, 2));
  EXPECT_EQ(named(tensors, "a").row_bytes(), 12u);
  EXPECT_EQ(text_of(named(tensors, "a").data), "abcdefghijklmnopqrstuvwx");
  EXPECT_EQ(text_of(named(tensors, "b").data), "ABCDEFGH");
  EXPECT_EQ(text_of(named(tensors, "c").data), "wxyz");
  EXPECT_FALSE(named(tensors, "a").rope_interleaved);
}

TEST(Safetensors, GivesBytesAndSingleNumbers) {
  SafetensorsWriter writer;
  writer.add("scale", "F32", {}, "abcd");
  writer.add("numbers", "F8_E4M3", {1, 3}, "efg");
  writer.add("integers", "I8", {5}, "hijkl");
  const TempFolder folder;
  const MappedFile file(folder.write("x.safetensors", writer.build()));
  const auto tensors = read_safetensors(file);
  EXPECT_THAT(named(tensors, "scale").shape, ElementsAre(1));
  EXPECT_EQ(text_of(named(tensors, "scale").data), "abcd");
  EXPECT_EQ(named(tensors, "numbers").dtype, DType::e4m3);
  EXPECT_EQ(named(tensors, "numbers").row_bytes(), 3u);
  EXPECT_EQ(text_of(named(tensors, "numbers").data), "efg");
  EXPECT_EQ(named(tensors, "integers").dtype, DType::i8);
  EXPECT_EQ(text_of(named(tensors, "integers").data), "hijkl");
}

struct BadFile {
  const char* name;
  std::function<std::string()> bytes;
  std::vector<std::string> says;
};

// The two tensors with one member of tensor "a" replaced.
std::function<std::string()> with(std::string member, nlohmann::json value) {
  return [=] {
    SafetensorsWriter writer = two_tensors();
    writer.header["a"][member] = value;
    return writer.build();
  };
}

std::function<std::string()> bent(std::function<void(SafetensorsWriter&)> change) {
  return [=] {
    SafetensorsWriter writer = two_tensors();
    change(writer);
    return writer.build();
  };
}

std::function<std::string()> header(std::string text) {
  return [=] { return SafetensorsWriter::wrap(text, ""); };
}

std::vector<BadFile> bad_files() {
  const std::string deep = std::string(40, '[') + std::string(40, ']');
  const nlohmann::json huge{1ll << 40, 1ll << 40};
  return {
      {"Empty", [] { return std::string(); }, {"header length", "beyond the end"}},
      {"CutInLength", [] { return std::string("abc"); }, {"header length", "(3 bytes)"}},
      {"HeaderBeyondEnd",
       [] { return bytes_of<std::uint64_t>(50) + "{}"; },
       {"header length: 50 bytes at offset 8 are beyond the end of the file (10 bytes)"}},
      {"HugeHeader",
       [] { return bytes_of(~0ull) + "{}"; },
       {"header length: 18446744073709551615; the limit is 100000000"}},
      {"NotJson", header("{\"a\":"), {"is not valid JSON"}},
      {"NotUtf8", header("{\"\xff\": 1}"), {"is not valid JSON"}},
      {"NotAnObject", header("[1, 2]"), {"header: is not a JSON object"}},
      {"Deep", header("{\"a\": " + deep + "}"), {"JSON nests deeper than 32 levels"}},
      {"TensorTwice", header("{\"a\": {}, \"a\": {}}"), {"key 'a' is there twice"}},
      {"EntryIsNumber", header("{\"a\": 1}"), {"tensor 'a': is not an object"}},
      {"NoType", with("dtype", nullptr), {"tensor 'a'.dtype: is missing"}},
      {"TypeIsNumber", with("dtype", 3), {"tensor 'a'.dtype: is not a string"}},
      {"OtherType",
       with("dtype", "F8_E5M2"),
       {"tensor 'a'.dtype: 'F8_E5M2' is not supported; supported are F32, F16, BF16, F8_E4M3, I64, "
        "I32, I8"}},
      {"NoShape", with("shape", nullptr), {"tensor 'a'.shape: is missing"}},
      {"ShapeIsText", with("shape", "2x3"), {"tensor 'a'.shape: is not an array"}},
      {"NegativeShape", with("shape", {-2, 3}), {"tensor 'a'.shape: has an element"}},
      {"FractionalShape", with("shape", {2.5, 3}), {"tensor 'a'.shape: has an element"}},
      {"HugeShapeNumber", with("shape", {1ull << 63, 3}), {"tensor 'a'.shape: has an element"}},
      {"ShapeOverflows", with("shape", huge), {"tensor 'a'", "overflows 64 bits"}},
      {"ZeroShape", with("shape", {0, 3}), {"tensor 'a': shape [0, 3] has an empty dimension"}},
      {"FiveDimensions", with("shape", {1, 1, 1, 2, 3}), {"tensor 'a': 5 dimensions"}},
      {"ShapeTooSmall",
       with("shape", {2, 2}),
       {"tensor 'a'.data_offsets: [0, 24] is not the 16 bytes of type and shape [2, 2]"}},
      {"NoOffsets", with("data_offsets", nullptr), {"tensor 'a'.data_offsets: is missing"}},
      {"OneOffset", with("data_offsets", {0}), {"tensor 'a'.data_offsets: is not a pair"}},
      {"OffsetsBackwards",
       with("data_offsets", {24, 0}),
       {"tensor 'a'.data_offsets: [24, 0] is not within the data (32 bytes)"}},
      {"OffsetsBeyondEnd",
       with("data_offsets", {16, 40}),
       {"tensor 'a'.data_offsets: [16, 40] is not within the data (32 bytes)"}},
      {"Overlap", with("data_offsets", {4, 28}), {"overlap or leave a hole"}},
      {"Hole",
       bent([](SafetensorsWriter& w) {
         w.data += "????????";
         w.add("c", "BF16", {1}, "??");
         w.header["b"]["data_offsets"] = {32, 40};
       }),
       {"tensor 'b': data_offsets overlap or leave a hole before it"}},
      {"BytesAtTheEnd",
       bent([](SafetensorsWriter& w) { w.data += "????"; }),
       {"data_offsets: the last 4 bytes belong to no tensor"}},
      {"Misaligned",
       bent([](SafetensorsWriter& w) {
         w.add("c", "BF16", {1}, "??");
         w.add("d", "F32", {1}, "????");
       }),
       {"tensor 'd'.data_offsets: [34, 38] is not aligned"}},
      {"HugeName",
       bent([](SafetensorsWriter& w) { w.add(std::string(300, 'x'), "BF16", {1}, "??"); }),
       {"name of 300 bytes; the limit is 256"}},
  };
}

class BadSafetensors : public testing::TestWithParam<BadFile> {};

TEST_P(BadSafetensors, IsRefusedByFileAndField) {
  const TempFolder folder;
  const MappedFile file(folder.write("bad.safetensors", GetParam().bytes()));
  std::vector<std::string> says = GetParam().says;
  says.push_back(file.path() + ": ");
  expect_error([&] { read_safetensors(file); }, says);
}

INSTANTIATE_TEST_SUITE_P(All, BadSafetensors, testing::ValuesIn(bad_files()),
                         [](const auto& info) { return info.param.name; });

TEST(Safetensors, RandomlyFlippedBitsGiveTensorsOrAnErrorAndNothingElse) {
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::cout << "seed " << seed << "\n";
  std::mt19937 random(seed);
  const std::string good = two_tensors().build();
  const TempFolder folder;
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string bytes = good;
    bytes[random() % (good.size() - 32)] ^= static_cast<char>(1 << random() % 8);
    const MappedFile file(folder.write("fuzz.safetensors", bytes));
    try {
      read_safetensors(file);
    } catch (const Error& error) {
      ++refused;
      ASSERT_THAT(error.what(), testing::StartsWith(file.path() + ": "));
    }
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace lockstep::model
